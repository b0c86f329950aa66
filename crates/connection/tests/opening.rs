//! How connections open, or do not: the request on the wire, refusals, time limits, the policy, the proxy
//! and the limits on their number.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{
    log::{assert_counts, logged, messages, observed},
    *,
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Settings};

/// Dials a server that gets this far with the opening handshake.
async fn dial(
    listener: &TcpListener,
    config: ConnectConfig,
    answer: impl AsyncFnOnce(&mut Peer),
) -> (Result<Connection, Error>, Peer) {
    let server = async {
        let mut peer = Peer::accept(listener).await;
        answer(&mut peer).await;
        peer
    };
    let endpoint = endpoint(&[]);
    soon(async { tokio::join!(endpoint.connect(config), server) }).await
}

/// What `connect` gives when the server answers its request with these bytes.
async fn refused(answer: &str) -> Error {
    let (listener, url) = listen().await;
    let (connection, _peer) = dial(&listener, to(url), async |peer| peer.write(answer).await).await;
    connection.err().expect("a refusal opens nothing")
}

#[tokio::test]
async fn a_refusal_shows_its_status_its_location_and_its_body() {
    for (status, field) in [(401, "WWW-Authenticate: Basic"), (403, "X: y"), (407, "X: y")] {
        let answer = format!("HTTP/1.1 {status} No\r\n{field}\r\nContent-Length: 12\r\n\r\nnot for you!");
        match refused(&answer).await {
            Error::AuthenticationFailed(text) => {
                assert!(text.contains(&status.to_string()) && text.contains("not for you!"), "{text}");
            }
            other => panic!("{status}: {other}"),
        }
    }
    for (status, field) in [(404, "X: y"), (500, "X: y"), (302, "Location: ws://elsewhere/"), (200, "X: y")] {
        let answer = format!("HTTP/1.1 {status} No\r\n{field}\r\nContent-Length: 7\r\n\r\nthe why");
        match refused(&answer).await {
            Error::ConnectionFailed(text) => {
                assert!(text.contains(&status.to_string()) && text.contains("the why"), "{text}");
                assert!(status != 302 || text.contains("ws://elsewhere/"), "{text}");
            }
            other => panic!("{status}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_is_reported_though_its_body_outlasts_the_time_limit() {
    let (listener, url) = listen().await;
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nbegun";
    let config = ConnectConfig { timeout: Some(Duration::from_millis(800)), ..to(url) };
    let (connection, _peer) = dial(&listener, config, async |peer| peer.write(answer).await).await;
    match connection.err() {
        Some(Error::AuthenticationFailed(text)) => assert!(text.contains("401") && text.contains("begun"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stall_on_the_way_ends_with_the_time_limit_and_the_socket() {
    for (scheme, begun) in [("ws", ""), ("ws", "HTTP/1.1 101 Switching"), ("wss", "")] {
        let (listener, url) = listen().await;
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(begun.as_bytes()).await.unwrap();
            tcp
        };
        let endpoint = endpoint(&[("max-connections", "1")]);
        let limit = Duration::from_millis(150);
        let config = ConnectConfig { timeout: Some(limit), ..to(url.replacen("ws", scheme, 1)) };
        let start = Instant::now();
        let (connection, mut tcp) = soon(async { tokio::join!(endpoint.connect(config), server) }).await;
        assert_eq!(connection.err(), Some(Error::Timeout), "{scheme} {begun}");
        assert!(start.elapsed() >= limit && start.elapsed() < Duration::from_secs(5));
        // It ends what it began.
        soon(tokio::io::copy(&mut tcp, &mut tokio::io::sink())).await.unwrap();
        soon(endpoint.closed()).await;
    }
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_nothing_behind() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[("max-connections", "1")]);
    let mut connecting = Box::pin(endpoint.connect(to(url)));
    let mut peer = tokio::select! {
        _ = &mut connecting => panic!("nobody answered"),
        peer = Peer::accept(&listener) => peer,
    };
    drop(connecting);
    peer.end().await;
    soon(endpoint.closed()).await;
}

#[tokio::test]
async fn the_request_carries_what_the_guest_asked_for_in_its_order() {
    let (listener, url) = listen().await;
    let headers =
        [("X-B", "1"), ("x-a", "grün"), ("X-B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = ConnectConfig {
        url: url.replacen("://", "://me:p%40ss@", 1) + "chat?room=1",
        headers: headers.into(),
        subprotocols: vec!["v2".to_owned(), "v1".to_owned()],
        ..ConnectConfig::default()
    };
    let answer = async |peer: &mut Peer| peer.upgrade("Sec-WebSocket-Protocol: v1\r\n").await;
    let (connection, peer) = dial(&listener, config, answer).await;
    let (connection, request) = (connection.unwrap(), &peer.request);
    assert!(request.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{request}");
    assert_eq!(peer.field("Host"), listener.local_addr().unwrap().to_string());
    assert_eq!(peer.field("Sec-WebSocket-Protocol"), "v2, v1");
    assert!(
        request.contains("\r\nX-B: 1\r\nx-a: grün\r\nX-B: 2\r\nAuthorization: Basic bWU6cEBzcw==\r\n"),
        "{request}"
    );
    assert_eq!(connection.subprotocol(), Some("v1"));
    assert_eq!(connection.url(), format!("{url}chat?room=1"));
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_fails_the_connection() {
    let (listener, url) = listen().await;
    let config = ConnectConfig { subprotocols: vec!["v1".to_owned()], ..ConnectConfig::default() };
    let answer = async |peer: &mut Peer| {
        peer.upgrade("Sec-WebSocket-Protocol: v3\r\n").await;
        peer.end().await;
    };
    let (connection, _) = dial(&listener, ConnectConfig { url, ..config.clone() }, answer).await;
    assert!(matches!(connection.err(), Some(Error::Protocol(text)) if text.contains("v3")));
    let (connection, _peer) = open_as(&endpoint(&[]), config).await;
    assert_eq!(connection.subprotocol(), None);
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let (listener, url) = listen().await;
    // The other loopback address of the name has no listener.
    let config = to(url.replace("127.0.0.1", "localhost"));
    let (connection, _peer) = dial(&listener, config, async |peer| peer.upgrade("").await).await;
    connection.unwrap();
    drop(listener);
    match error_of(&endpoint(&[]), &url).await {
        Error::ConnectionFailed(text) => assert!(text.contains("127.0.0.1:"), "{text}"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_destination_or_a_request_that_is_refused_opens_no_tcp_connection() {
    let (listener, url) = listen().await;
    let port = listener.local_addr().unwrap().port();
    for allow in ["example.com", "*", "10.0.0.0/8", "localhost:1"] {
        let mut settings = Settings::default();
        settings.set("allow", allow).unwrap();
        let endpoint = Endpoint::new(settings).unwrap();
        for url in [url.clone(), format!("ws://localhost:{port}/"), format!("ws://[::ffff:127.0.0.1]:{port}/")] {
            let error = error_of(&endpoint, &url).await;
            assert!(matches!(error, Error::AuthenticationFailed(_)), "{allow}: {error}");
        }
    }
    let bad = ConnectConfig { headers: vec![("Upgrade".to_owned(), "h2c".to_owned())], ..to(&url) };
    assert!(matches!(soon(endpoint(&[]).connect(bad)).await.err(), Some(Error::Protocol(_))));
    assert!(matches!(error_of(&endpoint(&[]), &format!("{url}#fragment")).await, Error::InvalidUrl(_)));
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn one_guest_and_all_guests_together_hold_no_more_connections_than_the_settings_say() {
    let first = endpoint(&[("max-connections", "2"), ("max-connections-total", "3")]);
    let (a, mut a_peer) = open(&first).await;
    let (_b, _b_peer) = open(&first).await;
    let (listener, url) = listen().await;
    assert!(
        matches!(error_of(&first, &url).await, Error::ConnectionFailed(text) if text.contains("`max-connections`"))
    );
    let second = first.for_guest();
    let (_c, _c_peer) = open(&second).await;
    let error = error_of(&second, &url).await;
    assert!(matches!(error, Error::ConnectionFailed(text) if text.contains("`max-connections-total`")));
    nobody_dialled(&listener).await;
    // A connection counts until its transport is gone, not until its handle is.
    drop(a);
    assert!(matches!(error_of(&first, &url).await, Error::ConnectionFailed(_)));
    assert_eq!(a_peer.frame().await.0, CLOSE);
    a_peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    // It is for the server to end TCP.
    drop(a_peer);
    let connected = async {
        // Nothing announces that the place is free.
        while first.connect(to(echo_server().await)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(connected).await;
}

/// A proxy that serves one client: it answers with this, and tunnels where that is a success. Gives its
/// address, and what it was asked.
async fn proxy(answer: &'static str) -> (String, JoinHandle<String>) {
    let (listener, url) = listen().await;
    let served = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let asked = read_head(&mut tcp).await;
        tcp.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains(" 200 ") {
            let destination = asked.split(' ').nth(1).unwrap();
            let mut onward = TcpStream::connect(destination).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut tcp, &mut onward).await });
        }
        asked
    });
    (url.trim_start_matches("ws://").trim_end_matches('/').to_owned(), served)
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_with_the_credentials_of_its_url() {
    for (user, authorization) in [("", None), ("me:p%40ss@", Some("Proxy-Authorization: Basic bWU6cEBzcw==\r\n"))] {
        let (at, served) = proxy("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let url = echo_server().await;
        works(&endpoint(&[("proxy", &format!("http://{user}{at}"))]), &url).await;
        let asked = soon(served).await.unwrap();
        let destination = url.trim_start_matches("ws://").trim_end_matches('/');
        assert!(asked.starts_with(&format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n")), "{asked}");
        assert_eq!(asked.lines().find(|line| line.starts_with("Proxy-Auth")), authorization.map(str::trim));
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_reported_and_not_passed_by() {
    for (answer, authentication) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 8\r\n\r\nwho now?", true),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 8\r\n\r\nwho now?", false),
    ] {
        let (at, served) = proxy(answer).await;
        let (listener, url) = listen().await;
        let error = error_of(&endpoint(&[("proxy", &format!("http://{at}"))]), &url).await;
        assert_eq!(matches!(error, Error::AuthenticationFailed(_)), authentication, "{error}");
        let text = error.to_string();
        assert!(text.contains("the proxy answered") && text.contains("who now?"), "{text}");
        assert!(!soon(served).await.unwrap().contains("Proxy-Authorization"));
        nobody_dialled(&listener).await;
    }
}

#[tokio::test]
async fn tcp_alone_is_dialled_under_the_same_policy_and_limits() {
    let (listener, url) = listen().await;
    let authority = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let endpoint = observed(&[("max-connections", "1")]);
    let tcp = soon(endpoint.connect_tcp(&authority)).await.unwrap();
    assert_eq!(tcp.peer_addr().unwrap(), listener.local_addr().unwrap());
    assert_counts(&endpoint, &[]);
    assert!(
        matches!(endpoint.connect_tcp(&authority).await, Err(Error::ConnectionFailed(why)) if why.contains("max-connections"))
    );
    drop(tcp);
    let denied = endpoint.connect_tcp("192.0.2.1:80").await;
    assert!(matches!(denied, Err(Error::AuthenticationFailed(_))));
    assert!(matches!(endpoint.connect_tcp("no port").await, Err(Error::InvalidUrl(_))));
    assert_counts(
        &endpoint,
        &[("connections.failed limit", 1), ("connections.failed denied", 1), ("connections.failed invalid_request", 1)],
    );
    let logged = logged(&format!("tcp://{authority}"));
    assert_eq!(messages(&logged), ["opening", "opened", "opening", "not opened"]);
    assert_eq!(logged[1].get("address"), authority);
}
