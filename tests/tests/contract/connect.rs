//! What `connect` promises.

use crate::{dial, listen, open, open_as, open_in, to};
use std::{
    net::Ipv6Addr,
    time::{Duration, Instant},
};
use test_peer::{BINARY, CLOSE, PING, Peer, TEXT, frame, nobody_dialled, soon};
use tests::{
    Host,
    probe::{Config, Failure, Message, Probe, State},
    skipped,
};
use tokio::net::{TcpSocket, TcpStream};

const LIMIT: Duration = Duration::from_millis(300);

fn offering(subprotocols: &[&str]) -> Config {
    let subprotocols = subprotocols.iter().map(|name| (*name).to_owned()).collect();
    Config { subprotocols: Some(subprotocols), ..Config::default() }
}

fn with_headers(headers: &[(&str, &str)]) -> Config {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config { headers: Some(headers), ..Config::default() }
}

/// What `connect` gives when the server answers its request with these bytes.
async fn refused(guest: &mut Probe, answer: &str) -> Failure {
    let (listener, url) = listen().await;
    let (connected, _peer) = dial(guest, &listener, to(url), async |peer| peer.write(answer).await).await;
    connected.unwrap_err()
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
async fn connect_subprotocol_choice() {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    let config = Config { url, ..offering(&["v2", "v1"]) };
    for (choice, chosen) in [("", Some(None)), ("v1", Some(Some("v1"))), ("v3", None), ("V1", None), ("v1, v2", None)] {
        let line = if choice.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {choice}\r\n") };
        let answer = async |peer: &mut Peer| peer.upgrade(&line).await;
        match (dial(&mut guest, &listener, config.clone(), answer).await, chosen) {
            ((Ok(open), _peer), Some(chosen)) => assert_eq!(guest.subprotocol(open).await.as_deref(), chosen),
            ((Err(Failure::ProtocolError(_)), mut peer), None) => peer.end().await,
            ((other, _), _) => panic!("{choice:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn connect_headers() {
    let mut guest = Probe::start(&[]);
    let wishes =
        with_headers(&[("X-B", "1"), ("x-a", "grün"), ("X-B", "2"), ("Origin", "https://example.com"), ("E", "")]);
    let (_, peer) = open_in(&mut guest, wishes).await;
    let sent = "\r\nX-B: 1\r\nx-a: grün\r\nX-B: 2\r\nOrigin: https://example.com\r\nE: \r\n";
    assert!(peer.request.contains(sent), "{}", peer.request);
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

#[tokio::test]
async fn connect_headers_reserved() {
    let (listener, url) = listen().await;
    let mut guest = Probe::start(&[]);
    for name in [
        "Host",
        "connection",
        "UPGRADE",
        "Content-Length",
        "Transfer-Encoding",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        "Sec-WebSocket-Anything",
    ] {
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
async fn connect_timeout() {
    let (listener, url) = listen().await;
    let (limit, long) = (LIMIT.as_millis() as u32, "1h");
    let by_default = ["--connect-timeout", "300ms", "--connect-timeout-max", long];
    let at_most = ["--connect-timeout", "300ms", "--connect-timeout-max", "300ms"];
    for (options, timeout_ms) in
        [(&by_default, None), (&at_most, Some(0)), (&at_most, Some(3_600_000)), (&by_default, Some(limit))]
    {
        for scheme in ["ws", "wss"] {
            let mut guest = Probe::start(options);
            let begun = Instant::now();
            let dialled = guest.connect(Config { timeout_ms, ..to(url.replacen("ws", scheme, 1)) });
            let (connected, accepted) = tokio::join!(dialled, listener.accept());
            assert_eq!(connected, Err(Failure::Timeout), "{timeout_ms:?}");
            assert!(begun.elapsed() >= LIMIT && begun.elapsed() < 40 * LIMIT, "{:?}", begun.elapsed());
            drop(accepted);
        }
    }
}

#[tokio::test]
async fn connect_addresses() {
    let mut guest = Probe::start(&[]);
    // One address of the name refuses.
    let (listener, url) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let name = to(url.replace("127.0.0.1", "localhost"));
    let (connected, _peer) = dial(&mut guest, &listener, name.clone(), async |peer| peer.upgrade("").await).await;
    connected.unwrap();
    // One address does not answer: its queue of connections is full.
    let slow = TcpSocket::new_v6().unwrap();
    if slow.bind((Ipv6Addr::LOCALHOST, port).into()).is_err() {
        return skipped("this machine has no IPv6 loopback, so a slow address beside a good one was not tried");
    }
    let slow = slow.listen(1).unwrap();
    let mut queued = Vec::new();
    while let Ok(tcp) = tokio::time::timeout(LIMIT, TcpStream::connect(slow.local_addr().unwrap())).await {
        queued.push(tcp.unwrap());
    }
    let (connected, _peer) = dial(&mut guest, &listener, name, async |peer| peer.upgrade("").await).await;
    connected.unwrap();
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
    // Twice the interval, in which a ping would have gone out.
    tokio::time::sleep(Duration::from_millis(400)).await;
    for (mut guest, open, mut peer) in silent {
        guest.send(open, Message::Text("first".into())).await.unwrap();
        assert_eq!(peer.frame().await, (TEXT, b"first".to_vec()));
    }
}

#[tokio::test]
async fn connect_authentication() {
    let mut guest = Probe::start(&[]);
    for status in [401, 403, 407] {
        match refused(&mut guest, &format!("HTTP/1.1 {status} No\r\nContent-Length: 5\r\n\r\nwho?!")).await {
            Failure::AuthenticationFailed(why) => {
                assert!(why.contains(&status.to_string()) && why.contains("who?!"), "{why}");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn connect_refused() {
    let mut guest = Probe::start(&[]);
    let (elsewhere, url) = listen().await;
    for status in [200, 301, 302, 307, 308, 400, 404, 426, 429, 500, 503] {
        let body = format!("because of {}", "ü".repeat(600));
        let head = format!("HTTP/1.1 {status} No\r\nLocation: {url}\r\nContent-Length: {}\r\n\r\n", body.len());
        match refused(&mut guest, &(head + &body)).await {
            Failure::ConnectionFailed(why) => {
                assert!(why.contains(&status.to_string()) && why.contains("because of ü"), "{why}");
                assert!(why.contains(&url), "{why}");
                let shown = why.matches('ü').count() * 2 + "because of ".len();
                assert!((1020..=1024).contains(&shown), "{shown} bytes of the body are shown");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
    nobody_dialled(&elsewhere).await;
}

#[tokio::test]
async fn connect_handshake() {
    let mut guest = Probe::start(&[]);
    let (listener, url) = listen().await;
    let good = |peer: &Peer| peer.upgrade_head("");
    let change = |from: &'static str, to: &'static str| {
        move |peer: &Peer| {
            let head = peer.upgrade_head("");
            assert!(head.contains(from), "{head}");
            head.replacen(from, to, 1)
        }
    };
    let wrong_key = |peer: &Peer| peer.upgrade_head("").replace(&peer.accept_key(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let extension = |peer: &Peer| peer.upgrade_head("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let garbage = |_: &Peer| "\x16\x03\x01 is not HTTP\r\n\r\n".to_owned();
    type Answer = Box<dyn Fn(&Peer) -> String>;
    let answers: Vec<(bool, Answer)> = vec![
        (true, Box::new(good)),
        (true, Box::new(change("Connection: Upgrade", "connection: keep-alive, upgrade"))),
        (true, Box::new(change("Upgrade: websocket", "uPGRADE: WebSocket"))),
        (false, Box::new(wrong_key)),
        (false, Box::new(extension)),
        (false, Box::new(garbage)),
        (false, Box::new(change("Sec-WebSocket-Accept", "X-Accept"))),
        (false, Box::new(change("Upgrade: websocket", "Upgrade: h2c"))),
        (false, Box::new(change("Upgrade: websocket\r\n", ""))),
        (false, Box::new(change("Connection: Upgrade\r\n", ""))),
        (false, Box::new(change("Connection: Upgrade", "Connection: close"))),
    ];
    for (allowed, answer) in answers {
        let mut shown = String::new();
        let (connected, mut peer) = dial(&mut guest, &listener, to(&url), async |peer| {
            shown = answer(peer);
            peer.write(&shown).await;
        })
        .await;
        match connected {
            Ok(open) => assert!(allowed && guest.state(open).await == State::Open, "{shown}"),
            Err(Failure::ProtocolError(_)) if !allowed => peer.end().await,
            other => panic!("{other:?}: {shown}"),
        }
    }
}

#[tokio::test]
async fn connect_policy() {
    let (listener, _) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let other = "localhost:1";
    for rules in [&[][..], &["example.com", "*.localhost"], &["*"], &["11.0.0.0/8"], &[other, "127.0.0.1:1"]] {
        let options: Vec<&str> = rules.iter().flat_map(|rule| ["--allow", rule]).collect();
        let mut guest = Probe::start_with_rules(&options);
        // Loopback by name and in the ways of writing it, and in IPv6: mapped, NAT64, 6to4.
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "0177.0.0.1",
            "①②⑦.0.0.1",
            "%31%32%37.0.0.1",
            "localhost.",
            "127.0.0.1.",
            "example.com@127.0.0.1",
            "2130706433",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
        ] {
            let connected = guest.connect(to(format!("ws://{host}:{port}/"))).await;
            assert!(matches!(connected, Err(Failure::AuthenticationFailed(_))), "{rules:?} {host}: {connected:?}");
        }
        // Private, shared, link-local, metadata, unique-local, multicast.
        for host in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "169.254.169.254",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fc00::1]",
            "224.0.0.1",
            "[ff02::1]",
            "[::ffff:10.1.2.3]",
            "[64:ff9b::a01:203]",
        ] {
            let connected = guest.connect(Config { timeout_ms: Some(300), ..to(format!("ws://{host}:{port}/")) }).await;
            assert!(matches!(connected, Err(Failure::AuthenticationFailed(_))), "{rules:?} {host}: {connected:?}");
        }
    }
    nobody_dialled(&listener).await;
    // Names and ports; of those that are granted there is none, so that nothing is dialled.
    let mut guest = Probe::start_with_rules(&["--allow", "*.a.invalid", "--allow", "b.invalid:81"]);
    for (destination, granted) in [
        ("c.a.invalid", true),
        ("d.c.a.invalid:82", true),
        ("C.A.INVALID.", true),
        ("a.invalid", false),
        ("ca.invalid", false),
        ("a.invalid.c", false),
        ("b.invalid:81", true),
        ("b.invalid", false),
        ("c.b.invalid:81", false),
    ] {
        let config = Config { timeout_ms: Some(300), ..to(format!("ws://{destination}/")) };
        match guest.connect(config).await {
            Err(Failure::ConnectionFailed(_) | Failure::Timeout) if granted => {}
            Err(Failure::AuthenticationFailed(why)) if !granted => assert!(why.contains("allow"), "{why}"),
            other => panic!("{destination}: {other:?}"),
        }
    }
    // A rule that names the destination grants it.
    for (rule, host) in [
        (format!("localhost:{port}"), "localhost"),
        (format!("127.0.0.1:{port}"), "127.0.0.1"),
        ("127.0.0.0/8".to_owned(), "[::ffff:127.0.0.1]"),
    ] {
        let mut guest = Probe::start_with_rules(&["--allow", &rule]);
        let config = to(format!("ws://{host}:{port}/"));
        let (connected, _peer) = dial(&mut guest, &listener, config, async |peer| peer.upgrade("").await).await;
        connected.unwrap_or_else(|failure| panic!("{rule} {host}: {failure:?}"));
    }
}

#[tokio::test]
async fn connect_limit() {
    let (mut guest, first, mut first_peer) = open(&["--max-connections", "2"]).await;
    let (_, _second_peer) = open_in(&mut guest, Config::default()).await;
    let (listener, url) = listen().await;
    match guest.connect(to(&url)).await {
        Err(Failure::ConnectionFailed(why)) => assert!(why.contains("`max-connections`"), "{why}"),
        other => panic!("{other:?}"),
    }
    // One that is closing counts until its transport is gone.
    guest.drop_connection(first).await;
    assert_eq!(first_peer.frame().await.0, CLOSE);
    assert!(matches!(guest.connect(to(&url)).await, Err(Failure::ConnectionFailed(_))));
    nobody_dialled(&listener).await;
    drop(first_peer);
    let upgrade = tokio::spawn(async move { Peer::accept(&listener).await.upgrade("").await });
    // Nothing tells a guest that there is room again.
    soon(async { while guest.connect(to(&url)).await.is_err() {} }).await;
    soon(upgrade).await.unwrap();
    // All guests of a host together.
    let host = Host::new(&[("max-connections", "2"), ("max-connections-total", "3")]);
    let ((mut one, _one), (mut two, _two)) = (host.probe(), host.probe());
    let (_, _first) = open_in(&mut one, Config::default()).await;
    let (_, _second) = open_in(&mut one, Config::default()).await;
    let (_, _third) = open_in(&mut two, Config::default()).await;
    let (listener, url) = listen().await;
    match two.connect(to(&url)).await {
        Err(Failure::ConnectionFailed(why)) => assert!(why.contains("`max-connections-total`"), "{why}"),
        other => panic!("{other:?}"),
    }
    nobody_dialled(&listener).await;
}
