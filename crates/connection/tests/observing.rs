//! What operators see of connections: spans, events and counters, all of them in the README's table, and no
//! secret in any of them.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{
    log::{LOG, Logged, assert_counts, counts, logged, messages, observed, one},
    *,
};
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    task::Poll,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime,
};
use tokio_tungstenite::client_async;
use tracing::{Instrument, Metadata};
use websocket_connection::{ConnectionState::*, Endpoint, Error, METRICS, Message, MetricKind};

/// Settings, or fields, and their values.
type Pairs = &'static [(&'static str, &'static str)];

/// How a connection ended that had opened.
#[track_caller]
fn assert_closed(endpoint: &Endpoint, url: &str, expected: &[(&str, &str)]) {
    let logged = logged(url);
    let closed = one(&logged, "closed");
    for (field, value) in expected {
        assert_eq!(closed.get(field), *value, "{field} of {closed:#?}");
    }
    let how = format!("websocket.connections.closed {}", closed.get("outcome"));
    let counts = counts(endpoint);
    assert_eq!((counts["websocket.connections.opened"], counts[&how]), (1, 1), "{counts:?}");
    assert!(!counts.contains_key("websocket.connections.active"), "{counts:?}");
}

#[tokio::test]
async fn a_connection_tells_its_whole_life_within_its_span_but_nothing_of_each_message() {
    let endpoint = observed(&[]);
    let (connection, mut peer) = open(&endpoint).instrument(tracing::info_span!("workload")).await;
    assert_counts(&endpoint, &[("connections.active", 1), ("connections.opened", 1)]);
    for _ in 0..100 {
        connection.send("four").await.unwrap();
        assert_eq!(peer.frame().await.0, TEXT);
        peer.write(frame(BINARY, "seven b")).await;
        assert_eq!(next(&connection).await, Ok(Message::Binary("seven b".into())));
    }
    connection.send(&Message::Ping("uncounted".into())).await.unwrap();
    peer.frame().await;
    peer.write(frame(PING, "answered")).await;
    assert_eq!(peer.frame().await.0, PONG);
    connection.close(Some(3001), Some("not for logs".into())).unwrap();
    peer.frame().await;
    peer.write(frame(CLOSE, close_payload(1000, "nor this"))).await;
    drop(peer);
    reaches(&connection, Closed).await;
    let logged = logged(connection.url());
    assert_eq!(messages(&logged), ["opening", "opened", "closed"]);
    let address = connection.url().trim_start_matches("ws://").trim_end_matches('/');
    assert_eq!((logged[1].get("address"), logged[1].get("subprotocol")), (address, ""));
    let (metadata, span) = logged[2].span.as_ref().unwrap();
    assert_eq!((metadata.name(), span.0["role"].as_str()), ("connection", "client"));
    assert!(span.0["id"].parse::<u64>().unwrap() > 0);
    assert_eq!(logged[2].parents, ["workload"]);
    let traffic =
        [("messages_sent", "100"), ("bytes_sent", "400"), ("messages_received", "100"), ("bytes_received", "700")];
    let end = [("outcome", "clean"), ("initiator", "guest"), ("code_sent", "3001"), ("code_received", "1000")];
    assert_closed(&endpoint, connection.url(), &[&traffic[..], &end].concat());
    assert_counts(
        &endpoint,
        &[
            ("connections.opened", 1),
            ("connections.closed clean", 1),
            ("messages transmit", 100),
            ("messages receive", 100),
            ("io transmit", 400),
            ("io receive", 700),
            ("pings.answered", 1),
        ],
    );
}

#[tokio::test]
async fn a_connection_that_does_not_open_counts_once_with_its_reason() {
    let refusing = |answer: &'static str| async move {
        let (listener, url) = listen().await;
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (mut input, mut output) = tcp.into_split();
                tokio::io::AsyncWriteExt::write_all(&mut output, answer.as_bytes()).await.unwrap();
                tokio::io::copy(&mut input, &mut tokio::io::sink()).await.unwrap_or_default();
            }
        });
        url
    };
    // It is bound, so that nobody else gets the port, and does not listen.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let deaf_url = format!("ws://{}/", deaf.local_addr().unwrap());
    for (reason, url, level) in [
        ("denied", "ws://10.1.2.3:80/".to_owned(), "WARN"),
        ("unreachable", deaf_url, "INFO"),
        ("refused", refusing("HTTP/1.1 503 Service Unavailable\r\n\r\n").await, "INFO"),
        ("protocol", refusing("SSH-2.0-OpenSSH\r\n\r\n").await, "INFO"),
        ("tls", refusing("HTTP/1.1 400 Bad\r\n\r\n").await.replace("ws:", "wss:"), "INFO"),
        ("timeout", refusing("").await, "INFO"),
    ] {
        let endpoint = observed(&[("connect-timeout", "300ms")]);
        let error = error_of(&endpoint, &url).await;
        assert_counts(&endpoint, &[(&format!("connections.failed {reason}"), 1)]);
        let logged = logged(&url);
        assert_eq!(messages(&logged), ["opening", "not opened"]);
        assert_eq!((logged[1].get("reason"), logged[1].metadata.level().as_str()), (reason, level));
        assert!(error.to_string().contains(logged[1].get("error")), "{error} {:?}", logged[1]);
    }
}

#[tokio::test]
async fn a_full_guest_and_an_invalid_request_and_an_abandoned_connect_count_as_such() {
    let endpoint = observed(&[("max-connections", "1")]);
    let (listener, url) = listen().await;
    {
        let mut connecting = Box::pin(endpoint.connect(to(&url)));
        assert!(waits(&mut connecting).await);
        assert!(matches!(error_of(&endpoint, &url).await, Error::ConnectionFailed(_)));
    }
    let mut invalid = to(&url);
    invalid.subprotocols = vec!["bearer".to_owned(), "c2VjcmV0==".to_owned()];
    assert!(matches!(endpoint.connect(invalid).await.err().unwrap().error(), Error::Protocol(_)));
    drop(listener);
    let failed = |reason| format!("connections.failed {reason}");
    assert_counts(&endpoint, &[(&failed("limit"), 1), (&failed("abandoned"), 1), (&failed("invalid_request"), 1)]);
    let logged = logged(&url);
    let reasons: Vec<_> =
        logged.iter().map(|logged| logged.get("reason")).filter(|reason| !reason.is_empty()).collect();
    assert_eq!(reasons, ["limit", "abandoned"]);
    assert!(!format!("{:?}", LOG.lock().unwrap()).contains("c2VjcmV0"));
}

#[tokio::test]
async fn no_credentials_path_query_header_or_answer_is_logged() {
    let (listener, url) = listen().await;
    let secret = url.replace("ws://", "ws://someone:hidden1@") + "hidden2?token=hidden3";
    let endpoint = observed(&[]);
    let config = || to_with(&secret, |config| config.headers = vec![("X-Api-Key".into(), "hidden4".into())]);
    let refuse = async {
        let mut peer = Peer::accept(&listener).await;
        peer.write("HTTP/1.1 403 hidden5\r\nLocation: /hidden2?token=hidden3\r\n\r\nhidden6: hidden3").await;
    };
    let (refused, ()) = soon(async { tokio::join!(endpoint.connect(config()), refuse) }).await;
    assert!(refused.err().unwrap().to_string().contains("token=hidden3"), "the guest is told all");
    let accept = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer.write([frame(TEXT, "hidden7"), frame(CLOSE, close_payload(1000, "hidden8"))].concat()).await;
    };
    let (connection, ()) = soon(async { tokio::join!(endpoint.connect(config()), accept) }).await;
    reaches(&connection.unwrap(), Closed).await;
    let misled = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("Sec-WebSocket-Protocol: bearer, hidden9\r\n").await;
    };
    let mut bearer = config();
    bearer.subprotocols = vec!["bearer".into(), "hidden9".into()];
    let (misled, ()) = soon(async { tokio::join!(endpoint.connect(bearer), misled) }).await;
    assert!(matches!(misled.err().unwrap().error(), Error::Protocol(why) if why.contains("bearer, hidden9")));
    let strict = Endpoint::new(websocket_connection::Settings::default()).unwrap();
    soon(strict.connect(config())).await.err().unwrap();
    let logged = logged(&url);
    let all =
        ["opening", "not opened", "opening", "opened", "closed", "opening", "not opened", "opening", "not opened"];
    assert_eq!(messages(&logged), all);
    assert!(logged[6].get("error").contains("a subprotocol that was not offered"), "{:?}", logged[6]);
    assert!(logged[8].get("error").contains("adding \"127.0.0.1:"), "{:?}", logged[8]);
    let everything = format!("{:?}", LOG.lock().unwrap());
    assert!(!everything.contains("hidden") && !everything.contains("someone"));
    assert!(!everything.contains("c29tZW9uZTpoaWRkZW4x"), "as Basic authorization");
}

#[tokio::test]
async fn the_end_of_a_connection_says_how_and_by_whom() {
    let ends: [(Pairs, Vec<u8>, Pairs); 5] = [
        (
            &[],
            frame(CLOSE, ""),
            &[("outcome", "clean"), ("initiator", "peer"), ("code_received", "1005"), ("code_sent", "1005")],
        ),
        (
            &[],
            vec![0xC1, 0],
            &[("outcome", "violation"), ("initiator", "host"), ("code_sent", "1002"), ("code_received", "")],
        ),
        (&[("max-message-size", "1")], frame(TEXT, "two"), &[("outcome", "too_large"), ("code_sent", "1009")]),
        (
            &[("keepalive-interval", "50ms")],
            vec![],
            &[("outcome", "keepalive_timeout"), ("initiator", "host"), ("code_sent", "1011")],
        ),
        (
            &[],
            frame(TEXT, "cut")[..3].to_vec(),
            &[("outcome", "lost"), ("initiator", ""), ("code_sent", ""), ("messages_received", "0")],
        ),
    ];
    for (changes, wire, expected) in ends {
        let endpoint = observed(changes);
        let (connection, mut peer) = open(&endpoint).await;
        peer.write(&wire).await;
        if expected[0].1 == "keepalive_timeout" {
            reaches(&connection, Closed).await;
        }
        drop(peer);
        reaches(&connection, Closed).await;
        assert_closed(&endpoint, connection.url(), expected);
        let logged = logged(connection.url());
        match expected[0].1 {
            "lost" => assert!(one(&logged, "closed").get("error").contains("in the middle of a message")),
            "violation" => assert_eq!(one(&logged, "violation").get("code"), "1002"),
            "too_large" => assert!(one(&logged, "violation").get("error").contains("this connection takes 1")),
            "keepalive_timeout" => assert_eq!(messages(&logged)[2], "keep-alive ping"),
            _ => assert_eq!(messages(&logged), ["opening", "opened", "closed"]),
        }
    }
}

#[tokio::test]
async fn a_dropped_connection_and_one_whose_close_nobody_answers_say_so() {
    let endpoint = observed(&[("close-timeout", "50ms")]);
    let (connection, mut peer) = open(&endpoint).await;
    let url = connection.url().to_owned();
    drop(connection);
    peer.frame().await;
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    drop(peer);
    soon(endpoint.closed()).await;
    assert_closed(&endpoint, &url, &[("outcome", "clean"), ("initiator", "drop"), ("code_sent", "1001")]);
    let (connection, _peer) = open(&endpoint).await;
    connection.close(None, None).unwrap();
    reaches(&connection, Closed).await;
    let logged = logged(connection.url());
    let closed = one(&logged, "closed");
    assert_eq!((closed.get("outcome"), closed.get("initiator")), ("close_timeout", "guest"));
    let ends = [("connections.closed clean", 1), ("connections.closed close_timeout", 1)];
    assert_counts(&endpoint, &[&[("connections.opened", 2)], &ends[..]].concat());
}

#[test]
fn a_runtime_that_stops_ends_its_connections_on_record() {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = observed(&[]);
    let (connection, _peer) = runtime.block_on(open(&endpoint));
    drop(runtime);
    assert_closed(&endpoint, connection.url(), &[("outcome", "stopped"), ("initiator", "")]);
}

#[tokio::test]
async fn a_send_that_times_out_counts_and_sent_nothing() {
    let endpoint = observed(&[("write-timeout", "30ms")]);
    let (connection, _peer) = open(&endpoint).await;
    let mut sent = 0;
    while connection.send(&Message::Binary(vec![0; 1 << 20].into())).await.is_ok() {
        sent += 1;
    }
    assert_counts(
        &endpoint,
        &[
            ("connections.active", 1),
            ("connections.opened", 1),
            ("messages transmit", sent),
            ("io transmit", sent << 20),
            ("sends.timed_out", 1),
        ],
    );
    one(&logged(connection.url()), "send timed out");
}

#[tokio::test]
async fn pings_and_pongs_that_are_dropped_unread_count_and_are_logged_once() {
    let endpoint = observed(&[]);
    let (connection, mut peer) = open(&endpoint).await;
    peer.write([frame(PING, "").repeat(100), frame(PONG, "").repeat(20), frame(PING, "last")].concat()).await;
    while peer.frame().await != (PONG, b"last".into()) {}
    let dropped = 100 + 1 - 16 + 20 - 16;
    assert_eq!(counts(&endpoint)["websocket.control_frames.dropped"], dropped);
    assert_eq!(one(&logged(connection.url()), "unread control frames dropped").get("kept"), "16");
}

#[tokio::test]
async fn a_send_that_fails_does_not_count_and_neither_does_a_close_frame_that_never_left() {
    let endpoint = observed(&[("inbound-buffer", "1KiB")]);
    let (connection, mut peer) = open(&endpoint).await;
    peer.write(frame(BINARY, [0; 1000]).repeat(20)).await;
    drop(peer);
    let mut sent = 0;
    while soon(connection.send("four")).await.is_ok() {
        sent += 1;
    }
    let counts = counts(&endpoint);
    assert_eq!((counts["websocket.messages transmit"], counts["websocket.io transmit"]), (sent, 4 * sent));
    let url = connection.url().to_owned();
    drop(connection);
    soon(endpoint.closed()).await;
    assert_closed(&endpoint, &url, &[("outcome", "lost"), ("initiator", "drop"), ("code_sent", "")]);
}

#[tokio::test]
async fn an_accepted_connection_is_a_servers_and_shows_no_target() {
    let endpoint = observed(&[]);
    let (at, mut accepted) = serve(&endpoint).await;
    let (mut client, _) =
        soon(client_async(format!("ws://{at}/?token=hidden"), TcpStream::connect(&at).await.unwrap())).await.unwrap();
    let connection = soon(accepted.recv()).await.unwrap().unwrap();
    client.close(None).await.unwrap();
    while soon(client.next()).await.is_some() {}
    drop(client);
    reaches(&connection, Closed).await;
    assert_counts(&endpoint, &[("connections.opened", 1), ("connections.closed clean", 1)]);
    let log = LOG.lock().unwrap();
    let role = |logged: &&Logged| logged.span.as_ref().is_some_and(|(_, span)| span.0["role"] == "server");
    let servers: Vec<_> = log.iter().filter(role).cloned().collect();
    assert_eq!(messages(&servers), ["opening", "opened", "closed"]);
    assert!(!format!("{servers:?}").contains("hidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_connects_and_connections_are_dropped_the_counts_add_up() {
    const GUESTS: u64 = 100;
    let endpoint = observed(&[("close-timeout", "100ms")]);
    let url = echo_server().await;
    let (_silent, silent_url) = listen().await;
    assert!(waits(&mut Box::pin(endpoint.connect(to(silent_url)))).await);
    let guests = (1..GUESTS).map(|moment| {
        let (guest, url) = (endpoint.for_guest(), url.clone());
        tokio::spawn(async move {
            let work = async {
                let connection = guest.connect(to(url)).await.unwrap();
                while connection.send(&Message::Binary(vec![0; 1000].into())).await.is_ok() {
                    connection.receive().await.unwrap();
                }
            };
            // Dropped after so many steps of its way.
            let (mut work, mut left) = (Box::pin(work), moment);
            poll_fn(|cx| {
                let step = work.as_mut().poll(cx);
                left -= 1;
                if left == 0 { Poll::Ready(()) } else { step }
            })
            .await;
            drop(work);
            soon(guest.closed()).await;
        })
    });
    for guest in guests.collect::<Vec<_>>() {
        soon(guest).await.unwrap();
    }
    let counts = counts(&endpoint);
    let sum = |start: &str| counts.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, n)| n).sum::<u64>();
    let opened = sum("websocket.connections.opened");
    assert!(opened > 0 && sum("websocket.connections.failed abandoned") > 0, "{counts:?}");
    assert_eq!(opened + sum("websocket.connections.failed"), GUESTS);
    assert_eq!((sum("websocket.connections.closed"), sum("websocket.connections.active")), (opened, 0));
}

/// The rows of the README's table: kind, name, level or unit, fields or attribute, meaning.
fn table() -> Vec<[String; 5]> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once("## Observing").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| cells(row).try_into().unwrap()).collect()
}

fn quoted(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_has_every_counter_as_it_is_declared() {
    let declared = METRICS.iter().map(|metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDownCounter => "up-down counter",
        };
        let values = quoted(metric.attribute_values);
        let attribute = metric.attribute.map_or_else(String::new, |attribute| format!("`{attribute}`: {values}"));
        [kind.to_owned(), quoted([metric.name]), quoted([metric.unit]), attribute, metric.description.to_owned()]
    });
    let listed: Vec<_> = table().into_iter().filter(|row| row[0].ends_with("counter")).collect();
    assert_eq!(listed, declared.collect::<Vec<_>>());
}

#[tokio::test]
async fn the_table_has_the_span_and_every_event_with_its_level_and_fields() {
    let endpoint = observed(&[("write-timeout", "10ms"), ("close-timeout", "10ms"), ("keepalive-interval", "50ms")]);
    error_of(&endpoint, "ws://10.1.2.3/").await;
    error_of(&endpoint, "no URL").await;
    let (silent, mut silent_peer) = open(&endpoint).await;
    silent_peer.write(frame(PING, "").repeat(17)).await;
    reaches(&silent, Closed).await;
    let (full, mut full_peer) = open_as(&endpoint, |config| config.keepalive = Some(false)).await;
    while full.send(&Message::Binary(vec![0; 1 << 20].into())).await.is_ok() {}
    full_peer.write([0xC1, 0]).await;
    reaches(&full, Closed).await;
    let (listener, url) = listen().await;
    let redirect = async {
        Peer::accept(&listener).await.write("HTTP/1.1 302 Found\r\nLocation: ws://10.1.2.3/\r\n\r\n").await;
    };
    let redirected = endpoint.connect(to_with(url, |config| config.max_redirects = 1));
    let (redirected, ()) = soon(async { tokio::join!(redirected, redirect) }).await;
    assert!(redirected.is_err());
    // Those of other tests that run meanwhile must be in the table as well.
    let log = LOG.lock().unwrap();
    let mut seen = BTreeMap::<_, BTreeSet<_>>::new();
    let mut see = |kind: &str, name: &str, metadata: &Metadata<'_>| {
        let fields = metadata.fields().iter().map(|field| field.name()).filter(|name| *name != "message");
        let row = [kind.to_owned(), quoted([name]), quoted(fields)];
        seen.entry(row).or_default().insert(metadata.level().to_string());
    };
    for logged in log.iter().filter(|logged| logged.metadata.target() == "websocket_connection") {
        let (span, _) = logged.span.as_ref().unwrap();
        see("event", logged.message(), logged.metadata);
        see("span", span.name(), span);
    }
    let listed = table().into_iter().filter(|row| !row[0].ends_with("counter"));
    let listed = listed.map(|[kind, name, levels, fields, _]| {
        ([kind, name, fields], levels.split(", ").map(str::to_owned).collect::<BTreeSet<_>>())
    });
    assert_eq!(seen, listed.collect());
}

#[tokio::test]
async fn the_debug_text_of_an_endpoint_and_a_connection_shows_no_secret() {
    let (listener, url) = listen().await;
    let secret = url.replace("ws://", "ws://someone:hidden1@") + "hidden2?token=hidden3";
    let through = format!("http://someone:hidden4@{}", listener.local_addr().unwrap());
    let endpoint = observed(&[("proxy", &through), ("no-proxy", "127.0.0.1")]);
    let accept = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    };
    let (connection, _peer) = soon(async { tokio::join!(endpoint.connect(to(secret)), accept) }).await;
    let shown = format!("{endpoint:?} {:?}", connection.unwrap());
    assert!(shown.contains("Connection { state: Open, subprotocol: None"), "{shown}");
    assert!(shown.contains("max_connections: 1024") && !shown.contains("hidden"), "{shown}");
}
