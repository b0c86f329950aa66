//! The promises of `connect` about the guest's request.

use crate::{dial, listen, offering, open_as, open_in, to};
use std::time::{Duration, Instant};
use test_peer::{BINARY, PING, Peer, TEXT, frame, nobody_dialled};
use tests::probe::{Config, Failure, Message, Probe};

fn with_headers(headers: &[(&str, &str)]) -> Config {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config { headers: Some(headers), ..Config::default() }
}

#[tokio::test]
async fn connect_url() {
    let (listener, url) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let mut guest = Probe::start(&[]);
    for bad in [
        "".to_owned(),
        "/chat".to_owned(),
        format!("//localhost:{port}/"),
        format!("localhost:{port}"),
        format!("http://localhost:{port}/"),
        format!("ws://:{port}/"),
        "ws://localhost:0/".to_owned(),
        "ws://localhost:65536/".to_owned(),
        "ws://local host/".to_owned(),
        format!("{url}#there"),
        format!("{url}#"),
        format!("{url}{}", "a".repeat(64 * 1024)),
        format!("ws://{}.localhost:{port}/", "a.".repeat(122)),
    ] {
        let failure = guest.connect(to(&bad)).await.unwrap_err();
        assert!(matches!(failure, Failure::InvalidUrl(_)), "{bad:?}: {failure:?}");
    }
    nobody_dialled(&listener).await;
    for good in [format!("WS://LOCALHOST:{port}/"), format!("ws://127.0.0.1:{port}?a=b")] {
        let (connected, _peer) = dial(&mut guest, &listener, to(good), async |peer| peer.upgrade("").await).await;
        connected.unwrap();
    }
}

#[tokio::test]
async fn connect_credentials() {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    let secret = url.replacen("://", "://me:s3cr%40t@", 1);
    let upgrade = async |peer: &mut Peer| peer.upgrade("").await;
    let (connected, peer) = dial(&mut guest, &listener, to(&secret), upgrade).await;
    assert_eq!(peer.field("Authorization"), "Basic bWU6czNjckB0");
    assert_eq!(guest.url(connected.unwrap()).await, url);
    drop(peer);
    let own = Config { url: secret.clone(), ..with_headers(&[("Authorization", "Bearer t0k3n")]) };
    let (connected, peer) = dial(&mut guest, &listener, own, upgrade).await;
    assert_eq!(peer.request.matches("uthorization: ").count(), 1, "{}", peer.request);
    assert_eq!(peer.field("Authorization"), "Bearer t0k3n");
    connected.unwrap();
    for user in ["me%0A:s3cr", "me:s3cr%00", "m%3Ae:s3cr"] {
        let failure = guest.connect(to(url.replacen("://", &format!("://{user}@"), 1))).await.unwrap_err();
        assert!(matches!(&failure, Failure::InvalidUrl(text) if !text.contains("s3cr")), "{user}: {failure:?}");
    }
    nobody_dialled(&listener).await;
    drop((peer, listener));
    let failure = guest.connect(to(&secret)).await.unwrap_err();
    let (status, log) = guest.end().await;
    assert!(status.success() && log.contains("127.0.0.1"), "{log}");
    for secret in ["s3cr", "bWU6czNjckB0", "t0k3n"] {
        assert!(!log.contains(secret) && !format!("{failure:?}").contains(secret), "{failure:?} {log}");
    }
}

#[tokio::test]
async fn connect_subprotocols() {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    for bad in [&["a", "a"][..], &["a", ""], &["a b"], &["a,b"], &["ü"], &["a\r\nX: y"]] {
        let failure = guest.connect(Config { url: url.clone(), ..offering(bad) }).await.unwrap_err();
        assert!(matches!(failure, Failure::ProtocolError(_)), "{bad:?}: {failure:?}");
    }
    nobody_dialled(&listener).await;
    let (_, peer) = open_in(&mut guest, offering(&["v2.chat", "v1"])).await;
    assert_eq!(peer.field("Sec-WebSocket-Protocol"), "v2.chat, v1");
}

#[tokio::test]
async fn connect_headers() {
    let mut guest = Probe::start(&[]);
    let wishes =
        with_headers(&[("X-B", "1"), ("x-a", "grün"), ("X-B", "2"), ("Origin", "https://example.com"), ("E", "")]);
    let (_, peer) = open_in(&mut guest, wishes).await;
    let sent = "\r\nX-B: 1\r\nx-a: grün\r\nX-B: 2\r\nOrigin: https://example.com\r\nE: \r\n";
    assert!(peer.request.contains(sent), "{}", peer.request);
    // A guest may give every field except those of the promises below.
    let allowed = [
        "Accept-Encoding",
        "Authorization",
        "Cache-Control",
        "Content-Type",
        "Cookie",
        "Date",
        "Forwarded",
        "Max-Forwards",
        "Origin",
        "Pragma",
        "Referer",
        "Via",
        "X-Proxy-Authorization",
    ]
    .map(|name| (name, "a"));
    let (_, peer) = open_in(&mut guest, with_headers(&allowed)).await;
    for (name, value) in allowed {
        assert_eq!(peer.field(name), value, "{name}");
    }
}

#[tokio::test]
async fn connect_headers_invalid() {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    for bad in [("", "a"), ("a b", "c"), ("ü", "a"), ("a:", "b"), ("a", "b\r\nEvil: 1"), ("a", "b\nc"), ("a", "\0")] {
        let failure = guest.connect(Config { url: url.clone(), ..with_headers(&[bad]) }).await.unwrap_err();
        assert!(matches!(failure, Failure::ProtocolError(_)), "{bad:?}: {failure:?}");
    }
    let half = "a".repeat(32 * 1024);
    let subprotocols = Some(vec![half.clone()]);
    let too_much = Config { url, subprotocols, ..with_headers(&[("a", &half)]) };
    let failure = guest.connect(too_much).await.unwrap_err();
    assert!(matches!(&failure, Failure::ProtocolError(why) if why.contains("65536")), "{failure:?}");
    nobody_dialled(&listener).await;
}

/// Asserts that a guest may not give any of these header fields.
async fn are_refused(names: &[&str]) {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    for name in names {
        match guest.connect(Config { url: url.clone(), ..with_headers(&[(name, "a")]) }).await {
            Err(Failure::ProtocolError(why)) => {
                assert!(why.to_lowercase().contains(&name.to_lowercase()), "{why} should name {name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn connect_headers_reserved() {
    are_refused(&[
        "Host",
        "connection",
        "UPGRADE",
        "Content-Length",
        "Transfer-Encoding",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        "Sec-WebSocket-Anything",
    ])
    .await;
}

#[tokio::test]
async fn connect_headers_hop_by_hop() {
    are_refused(&["TE", "te", "Trailer", "Keep-Alive", "keep-alive", "HTTP2-Settings"]).await;
}

#[tokio::test]
async fn connect_headers_proxy() {
    are_refused(&[
        "Proxy-Authorization",
        "proxy-authorization",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Connection",
        "PROXY-ANYTHING",
    ])
    .await;
}

#[tokio::test]
async fn connect_headers_expect() {
    are_refused(&["Expect", "EXPECT"]).await;
}

#[tokio::test]
async fn connect_user_agent() {
    for (options, own, sent) in [
        (&[][..], None, Some("websocket-provider/")),
        (&["--user-agent", "host/1 (of a test)"], None, Some("host/1 (of a test)")),
        (&["--user-agent", ""], None, None),
        (&["--user-agent", "host/1"], Some("guest/2"), Some("guest/2")),
        (&["--user-agent", ""], Some("guest/2"), Some("guest/2")),
    ] {
        let headers: Vec<_> = own.map(|own| ("User-Agent", own)).into_iter().collect();
        let (_guest, _, peer) = open_as(options, with_headers(&headers)).await;
        let count = peer.request.to_lowercase().matches("\r\nuser-agent:").count();
        assert_eq!(count, usize::from(sent.is_some()), "{}", peer.request);
        assert!(peer.field("User-Agent").starts_with(sent.unwrap_or_default()), "{}", peer.request);
    }
}

#[tokio::test]
async fn connect_max_message_size() {
    let host = ["--max-message-size", "300", "--max-message-size-limit", "500"];
    for (asked, most) in [(None, 300), (Some(200), 200), (Some(400), 400), (Some(u32::MAX), 500)] {
        let (mut guest, open, mut peer) = open_as(&host, Config { max_message_size: asked, ..Config::default() }).await;
        guest.send(open, Message::Binary(vec![1; most])).await.unwrap();
        assert_eq!(peer.frame().await, (BINARY, vec![1; most]));
        let too_much = guest.send(open, Message::Binary(vec![1; most + 1])).await;
        assert!(matches!(too_much, Err(Failure::InvalidMessage(_))), "{too_much:?}");
        peer.write([frame(BINARY, vec![2; most]), frame(BINARY, vec![3; most + 1])].concat()).await;
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![2; most])));
        assert!(matches!(guest.receive(open).await, Err(Failure::InvalidMessage(_))));
    }
}

#[tokio::test]
async fn connect_keepalive() {
    let pings = |enable_keepalive, keepalive_interval_ms| Config {
        enable_keepalive,
        keepalive_interval_ms,
        ..Config::default()
    };
    let short = ["--keepalive-interval", "200ms", "--keepalive-floor", "200ms"];
    let off = ["--keepalive", "false", "--keepalive-interval", "200ms", "--keepalive-floor", "200ms"];
    let long = ["--keepalive-interval", "1h", "--keepalive-floor", "200ms"];
    for (options, wishes) in [
        (&short[..], pings(None, None)),
        (&off, pings(Some(true), None)),
        (&long, pings(None, Some(300))),
        (&long, pings(None, Some(0))),
    ] {
        let begun = Instant::now();
        let (_guest, _, mut peer) = open_as(options, wishes).await;
        assert_eq!(peer.frame().await.0, PING);
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
    let mut silent = Vec::new();
    for (options, wishes) in
        [(&short[..], pings(Some(false), None)), (&off, pings(None, None)), (&long, pings(None, None))]
    {
        silent.push(open_as(options, wishes).await);
    }
    // Twice the interval, in which a ping would have been sent.
    tokio::time::sleep(Duration::from_millis(400)).await;
    for (mut guest, open, mut peer) in silent {
        guest.send(open, Message::Text("first".into())).await.unwrap();
        assert_eq!(peer.frame().await, (TEXT, b"first".to_vec()));
    }
}
