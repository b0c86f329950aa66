//! How connections open, or do not: the request on the wire, refusals, time limits, the policy, the proxy
//! and the limits on their number.

#![cfg(all(feature = "server", feature = "tls"))]
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
use websocket_connection::{
    ConnectConfig, ConnectError, Connection, Endpoint, Error, Reason, Settings, Step, TlsReason,
};

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
    let (connection, peer) = soon(async { tokio::join!(endpoint.connect(config), server) }).await;
    (connection.map_err(Error::from), peer)
}

/// What `connect` gives when the server answers its request with these bytes.
async fn refused(answer: &str) -> Error {
    let (listener, url) = listen().await;
    let (connection, _peer) = dial(&listener, to(url), async |peer| peer.write(answer).await).await;
    connection.expect_err("a refusal opens nothing")
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
    let config = to_with(url, |config| config.timeout = Some(Duration::from_millis(800)));
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
        let config = to_with(url.replacen("ws", scheme, 1), |config| config.timeout = Some(limit));
        let start = Instant::now();
        let (connection, mut tcp) = soon(async { tokio::join!(endpoint.connect(config), server) }).await;
        let failure = connection.err().unwrap();
        let step = if scheme == "wss" { Step::Tls } else { Step::Handshake };
        assert_eq!((failure.error(), failure.reason()), (&Error::Timeout, &Reason::Timeout(step)), "{scheme} {begun}");
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
    let config = to_with(url.replacen("://", "://me:p%40ss@", 1) + "chat?room=1", |config| {
        config.headers = headers.into();
        config.subprotocols = vec!["v2".to_owned(), "v1".to_owned()];
    });
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
    let offer = |config: &mut ConnectConfig| config.subprotocols = vec!["v1".to_owned()];
    let answer = async |peer: &mut Peer| {
        peer.upgrade("Sec-WebSocket-Protocol: v3\r\n").await;
        peer.end().await;
    };
    let (connection, _) = dial(&listener, to_with(url, offer), answer).await;
    assert!(matches!(connection.err(), Some(Error::Protocol(text)) if text.contains("v3")));
    let (connection, _peer) = open_as(&endpoint(&[]), offer).await;
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
    let bad = to_with(&url, |config| config.headers = vec![("Upgrade".to_owned(), "h2c".to_owned())]);
    let refused = soon(endpoint(&[]).connect(bad)).await.err().unwrap();
    assert!(matches!((refused.error(), refused.reason()), (Error::Protocol(_), Reason::InvalidRequest)));
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
    for (user, authorization, agent) in [
        ("", None, "proxied/1"),
        ("me:p%40ss@", Some("Proxy-Authorization: Basic bWU6cEBzcw==\r\n"), "proxied/1"),
        ("", None, ""),
    ] {
        let (at, served) = proxy("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let url = echo_server().await;
        works(&endpoint(&[("proxy", &format!("http://{user}{at}")), ("user-agent", agent)]), &url).await;
        let asked = soon(served).await.unwrap();
        let destination = url.trim_start_matches("ws://").trim_end_matches('/');
        assert!(asked.starts_with(&format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n")), "{asked}");
        assert_eq!(asked.lines().find(|line| line.starts_with("Proxy-Auth")), authorization.map(str::trim));
        let said = asked.lines().find_map(|line| line.strip_prefix("User-Agent: "));
        assert_eq!(said, Some(agent).filter(|agent| !agent.is_empty()), "{asked}");
    }
}

#[tokio::test]
async fn the_answer_of_a_proxy_is_read_as_that_of_a_server() {
    for answer in [
        "HTTP/1.1 200 \r\nVia: 1.1 a,\r\n 1.1 b\r\nSet-Cookie: id=a\x01b\r\nno field\r\n\r\n",
        "\r\nHTTP/1.0 200 Connection established\nContent-Length: 5\nTransfer-Encoding: Chunked\n\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\n\r\n",
    ] {
        let (at, served) = proxy(answer).await;
        works(&endpoint(&[("proxy", &format!("http://{at}"))]), &echo_server().await).await;
        soon(served).await.unwrap();
    }
    let (at, _served) = proxy("HTTP/1.1 503 Nix da\r\nContent-Length: 2\r\nContent-Encoding: br\r\n\r\n\x01\x02").await;
    let error = error_of(&endpoint(&[("proxy", &format!("http://{at}"))]), &echo_server().await).await;
    let expected = "the proxy answered 503 Nix da (its body is not shown: it is compressed with br)";
    assert_eq!(error, Error::ConnectionFailed(expected.to_owned()));
}

#[tokio::test]
async fn the_host_says_who_it_is_unless_the_guest_does() {
    let (listener, url) = listen().await;
    for (own, sent) in [(None, concat!("websocket-provider/", env!("CARGO_PKG_VERSION"))), (Some("guest/2"), "guest/2")]
    {
        let headers = own.map(|own: &str| ("User-Agent".to_owned(), own.to_owned())).into_iter().collect();
        let config = to_with(&url, |config| config.headers = headers);
        let (connection, peer) = dial(&listener, config, async |peer| peer.upgrade("").await).await;
        connection.unwrap();
        assert_eq!(peer.field("User-Agent"), sent);
        assert_eq!(peer.request.matches("User-Agent").count(), 1, "{}", peer.request);
    }
}

#[tokio::test]
async fn a_refusal_without_a_body_is_reported_at_once() {
    let (listener, url) = listen().await;
    for (answer, shown) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "the server answered 204 No Content"),
        ("HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n", "the server answered 304 Not Modified"),
        ("HTTP/1.1 522\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nwhy\r\n0\r\n\r\n", "the server answered 522: why"),
    ] {
        let begun = Instant::now();
        let (connection, _peer) = dial(&listener, to(&url), async |peer| peer.write(answer).await).await;
        assert_eq!(connection.err(), Some(Error::ConnectionFailed(shown.to_owned())));
        assert!(begun.elapsed() < Duration::from_secs(1), "it waited for {:?}", begun.elapsed());
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
    let failed = async |authority: &str| endpoint.connect_tcp(authority).await.err().unwrap();
    let full = failed(&authority).await;
    assert_eq!(*full.reason(), Reason::Limit { setting: "max-connections" });
    assert!(matches!(full.error(), Error::ConnectionFailed(why) if why.contains("max-connections")));
    drop(tcp);
    let denied = failed("192.0.2.1:80").await;
    assert_eq!(*denied.reason(), Reason::Denied { address: None });
    assert!(matches!(denied.error(), Error::AuthenticationFailed(_)));
    assert!(matches!(failed("no port").await.error(), Error::InvalidUrl(_)));
    assert_counts(
        &endpoint,
        &[("connections.failed limit", 1), ("connections.failed denied", 1), ("connections.failed invalid_request", 1)],
    );
    let logged = logged(&format!("tcp://{authority}"));
    assert_eq!(messages(&logged), ["opening", "opened", "opening", "not opened"]);
    assert_eq!(logged[1].get("address"), authority);
}

/// Why this URL cannot be dialled, with the settings given.
async fn failure(settings: &[(&str, &str)], url: &str) -> ConnectError {
    soon(endpoint(settings).connect(to(url))).await.expect_err("this must not connect")
}

/// The kind of the operating system's error that caused a failure.
fn cause(failure: &ConnectError) -> Option<std::io::ErrorKind> {
    std::error::Error::source(failure)?.downcast_ref().map(std::io::Error::kind)
}

#[tokio::test]
async fn a_failed_connect_says_what_failed_and_keeps_its_cause() {
    use std::io::ErrorKind::{ConnectionRefused, UnexpectedEof};
    let (listener, url) = listen().await;
    drop(listener);
    let refused = failure(&[], &url).await;
    assert_eq!((refused.reason(), cause(&refused)), (&Reason::Tcp(ConnectionRefused), Some(ConnectionRefused)));
    assert!(!refused.is_at_proxy());

    let unknown = failure(&[("allow", "*.invalid")], "ws://nobody.invalid/").await;
    assert_eq!(*unknown.reason(), Reason::Dns, "{unknown}");
    assert!(cause(&unknown).is_some() && unknown.to_string().contains("nobody.invalid"), "{unknown}");

    for (answer, reason) in [
        ("", Reason::Transport(UnexpectedEof)),
        ("SSH-2.0-x\r\n\r\n", Reason::Protocol),
        ("HTTP/1.1 101 Up\r\n\r\n", Reason::Protocol),
    ] {
        let (listener, url) = listen().await;
        let server = async {
            let mut peer = Peer::accept(&listener).await;
            peer.write(answer).await;
        };
        let (failure, ()) = soon(async { tokio::join!(failure(&[], &url), server) }).await;
        assert_eq!(*failure.reason(), reason, "{answer:?}: {failure}");
    }

    let (listener, url) = listen().await;
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        peer.write("HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (failure, ()) = soon(async { tokio::join!(failure(&[], &url), server) }).await;
    match failure.reason() {
        Reason::Refused { status, headers } => {
            assert_eq!((status.as_u16(), headers["retry-after"].as_bytes()), (429, &b"7"[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_denial_names_the_address_only_where_the_host_is_granted() {
    for (allow, url, address) in [
        ("example.com", "ws://localhost:9/", None),
        ("example.com", "ws://127.0.0.1:9/", None),
        ("*", "ws://127.0.0.1:9/", Some("127.0.0.1")),
        ("*", "ws://localhost:9/", Some("::1")),
    ] {
        let mut settings = Settings::default();
        settings.set("allow", allow).unwrap();
        let denied = soon(Endpoint::new(settings).unwrap().connect(to(url))).await.err().unwrap();
        let address = address.map(|address| address.parse().unwrap());
        assert_eq!(*denied.reason(), Reason::Denied { address }, "{allow} {url}");
    }
}

#[tokio::test]
async fn a_failed_tls_session_says_what_failed() {
    let alert = [21, 3, 3, 0, 2, 2, 40];
    for (answer, reason) in [
        (&alert[..], TlsReason::Alert(40)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsReason::Protocol),
        (b"", TlsReason::Transport(std::io::ErrorKind::UnexpectedEof)),
    ] {
        let (listener, url) = listen().await;
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(answer).await.unwrap();
            tcp.shutdown().await.unwrap();
            // Until the client is done: unread bytes would turn the end into a reset.
            let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
        };
        let dialled = async { failure(&[], &url.replacen("ws", "wss", 1)).await };
        let (failure, ()) = soon(async { tokio::join!(dialled, server) }).await;
        assert_eq!(*failure.reason(), Reason::Tls(reason), "{failure}");
        assert!(std::error::Error::source(&failure).is_some());
    }
}

#[tokio::test]
async fn what_fails_at_the_proxy_is_told_apart_from_what_fails_at_the_server() {
    let (at, served) = proxy("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await;
    let refused = failure(&[("proxy", &format!("http://{at}"))], "ws://127.0.0.1:9/").await;
    assert!(refused.is_at_proxy() && matches!(refused.reason(), Reason::Refused { status, .. } if *status == 407));
    soon(served).await.unwrap();
    let (listener, url) = listen().await;
    drop(listener);
    let unreachable = failure(&[("proxy", &url.replacen("ws", "http", 1))], "ws://127.0.0.1:9/").await;
    assert!(unreachable.is_at_proxy() && matches!(unreachable.reason(), Reason::Tcp(_)), "{unreachable:?}");
}

/// A proxy that answers CONNECT with these bytes, then does as `then` says. Gives its URL.
async fn lying_proxy<F: Future<Output = ()> + Send>(
    answer: impl AsRef<[u8]> + Send + 'static,
    then: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut tcp).await.starts_with("CONNECT 127.0.0.1:9 "));
        // The client may have heard enough before the end.
        let _ = tcp.write_all(answer.as_ref()).await;
        then(tcp).await;
    });
    url.replacen("ws", "http", 1)
}

#[tokio::test]
async fn a_proxy_that_lies_opens_nothing() {
    use std::io::ErrorKind::UnexpectedEof;
    const UP: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let refused = |code: u16| format!("refused {code}");
    for (answer, expected) in [
        // No tunnel has a body, and no server speaks first.
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "Protocol".to_owned()),
        (format!("HTTP/1.1 200 OK\r\n\r\n{UP}"), "Protocol".to_owned()),
        // The answer to something else than CONNECT.
        (UP.to_owned(), refused(101)),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n".to_owned(), refused(302)),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(), refused(304)),
        ("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".to_owned(), refused(407)),
        ("HTTP/1.1 502 No\r\nContent-Length: 99999999999\r\n\r\nhalf".to_owned(), refused(502)),
        ("HTTP/1.1 099 What\r\n\r\n".to_owned(), "Protocol".to_owned()),
        ("HTTP/2 200\r\n\r\n".to_owned(), "Protocol".to_owned()),
        ("\u{5}\0".to_owned(), "Protocol".to_owned()),
        ("200 OK\r\n\r\n".to_owned(), "Protocol".to_owned()),
        (String::new(), format!("Transport({UnexpectedEof:?})")),
        ("HTTP/1.1 200 OK\r\nX: y\r\n".to_owned(), format!("Transport({UnexpectedEof:?})")),
        ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), format!("Transport({UnexpectedEof:?})")),
        // Heads without an end.
        (format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20)), "Protocol".to_owned()),
        (format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1 << 17)), "Protocol".to_owned()),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(1 << 16), "Protocol".to_owned()),
    ] {
        let shown: String = answer.chars().take(60).collect();
        let proxy = lying_proxy(answer, async |mut tcp| {
            let _ = tcp.shutdown().await;
            let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
        })
        .await;
        let failure = failure(&[("proxy", &proxy)], "ws://127.0.0.1:9/").await;
        let said = match failure.reason() {
            Reason::Refused { status, .. } => refused(status.as_u16()),
            other => format!("{other:?}"),
        };
        assert_eq!((said, failure.is_at_proxy()), (expected, true), "{shown:?}: {failure}");
        let is_authentication = matches!(failure.error(), Error::AuthenticationFailed(_));
        assert_eq!(is_authentication, shown.contains("407"), "{shown:?}: {failure}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_or_ends_its_tunnel_is_told_by_the_step() {
    let waits = async |tcp: TcpStream| {
        let mut tcp = tcp;
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    };
    for (answer, step) in [
        ("", Step::Proxy),
        ("HTTP/1.1 200 OK\r\nX: y", Step::Proxy),
        ("HTTP/1.1 200 OK\r\n\r\n", Step::Handshake),
        // RFC 9110 section 9.3.6: in an answer that opens a tunnel, these mean nothing.
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Step::Handshake),
    ] {
        let proxy = lying_proxy(answer, waits).await;
        let limits = [("proxy", proxy.as_str()), ("connect-timeout", "300ms")];
        assert_eq!(*failure(&limits, "ws://127.0.0.1:9/").await.reason(), Reason::Timeout(step), "{answer:?}");
    }
    // What comes through the tunnel is the server's.
    for (late, reason) in [
        ("", Reason::Transport(std::io::ErrorKind::UnexpectedEof)),
        ("SSH-2.0-x\r\n\r\n", Reason::Protocol),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            Reason::Protocol,
        ),
    ] {
        let answers = async move |tcp: TcpStream| {
            let mut tcp = tcp;
            read_head(&mut tcp).await;
            tcp.write_all(late.as_bytes()).await.unwrap();
        };
        let proxy = lying_proxy("HTTP/1.1 200 OK\r\n\r\n", answers).await;
        let failure = failure(&[("proxy", &proxy)], "ws://127.0.0.1:9/").await;
        assert_eq!((failure.reason(), failure.is_at_proxy()), (&reason, false), "{late:?}: {failure}");
    }
}

#[tokio::test]
async fn a_client_reads_the_header_fields_of_the_response_and_where_tcp_leads() {
    let (listener, url) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("X-Session: a:b\r\nX-Session: c\r\n").await;
        peer
    };
    let endpoint = endpoint(&[]);
    let (connection, peer) = soon(async { tokio::join!(endpoint.connect(to(url)), peer) }).await;
    let connection = connection.unwrap();
    let sessions: Vec<_> =
        connection.headers().filter(|(name, _)| *name == "x-session").map(|(_, value)| value).collect();
    assert_eq!(sessions, [&b"a:b"[..], b"c"]);
    assert!(connection.headers().any(|field| field == ("upgrade", b"websocket")));
    assert_eq!(connection.peer_addr(), Some(listener.local_addr().unwrap()));
    drop(peer);
    soon(connection.closed()).await;
    assert_eq!(connection.peer_addr(), None);
}

#[tokio::test]
async fn a_server_reads_the_header_fields_of_the_request_and_where_tcp_leads() {
    let endpoint = endpoint(&[]);
    let (address, mut accepted) = serve(&endpoint).await;
    let config = to_with(format!("ws://{address}/"), |config| config.headers = vec![("X-Token".into(), "t".into())]);
    let client = soon(endpoint.connect(config)).await.unwrap();
    let server = soon(accepted.recv()).await.unwrap().unwrap();
    assert!(server.headers().any(|field| field == ("x-token", b"t")));
    assert!(server.peer_addr().is_some_and(|peer| peer.ip().is_loopback() && Some(peer) != client.peer_addr()));
}
