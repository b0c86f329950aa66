//! The promises of `connect` about its outcome.

use crate::{dial, listen, offering, open, open_in, to};
use std::{
    net::Ipv6Addr,
    time::{Duration, Instant},
};
use test_peer::{CLOSE, Peer, TEXT, close_payload, frame, nobody_dialled, soon};
use tests::{
    Host,
    probe::{Config, Failure, Message, Probe, State},
    skipped,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

const LIMIT: Duration = Duration::from_millis(300);

/// The error of `connect` when the server answers its request with these bytes.
async fn refused(guest: &mut Probe, answer: &str) -> Failure {
    let (listener, url) = listen().await;
    let (connected, _peer) = dial(guest, &listener, to(url), async |peer| peer.write(answer).await).await;
    connected.unwrap_err()
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
    // One address does not answer, because its backlog is full.
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
async fn connect_compression() {
    let (listener, url) = listen().await;
    let letters = "a".repeat(1000);
    // Without the setting, nothing is offered.
    for options in [&[][..], &["--compress", "true"]] {
        let mut guest = Probe::start(options);
        let header = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let answer = async |peer: &mut Peer| peer.upgrade(if options.is_empty() { "" } else { header }).await;
        let config = Config { max_message_size: Some(1000), ..to(&url) };
        let (open, mut peer) = dial(&mut guest, &listener, config, answer).await;
        let open = open.unwrap();
        assert_eq!(peer.field("Sec-WebSocket-Extensions").is_empty(), options.is_empty(), "{}", peer.request);
        guest.send(open, Message::Text(letters.clone())).await.unwrap();
        let (first, payload) = peer.frame().await;
        assert_eq!((first, payload.len() < 100), if options.is_empty() { (TEXT, false) } else { (TEXT | RSV1, true) });
        // The peer sends back what it got, compressed as it was.
        peer.write(frame(first, &payload)).await;
        assert_eq!(guest.receive(open).await, Ok(Message::Text(letters.clone())));
    }
    // The limit counts inflated bytes.
    let mut guest = Probe::start(&["--compress", "true"]);
    let header = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let config = Config { max_message_size: Some(1000), ..to(&url) };
    let (open, mut peer) = dial(&mut guest, &listener, config, async |peer| peer.upgrade(header).await).await;
    let open = open.unwrap();
    guest.send(open, Message::Text(letters)).await.unwrap();
    let (first, payload) = peer.frame().await;
    // The same message twice, as the two fragments of one.
    let twice = [frame(first & 0x7F, payload_with_tail(&payload)), frame(0x80, &payload)].concat();
    peer.write(twice).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1009, "")));
    assert!(matches!(guest.receive(open).await, Err(Failure::InvalidMessage(_))));
}

/// The bit of a compressed message's first frame (RFC 7692 section 6).
const RSV1: u8 = 0x40;

/// A compressed payload with the end that is not sent (RFC 7692 section 7.2.1), so that another can follow.
fn payload_with_tail(payload: &[u8]) -> Vec<u8> {
    [payload, &[0, 0, 0xFF, 0xFF]].concat()
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
        (false, Box::new(|peer: &Peer| peer.upgrade_head(&format!("Sec-WebSocket-Accept: {}\r\n", peer.accept_key())))),
        (false, Box::new(|peer: &Peer| peer.upgrade_head("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))),
        (false, Box::new(|peer: &Peer| peer.upgrade_head("Upgrade: websocket\r\n"))),
        (false, Box::new(|peer: &Peer| peer.upgrade_head("Upgrade: h2c\r\n"))),
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
async fn connect_answer() {
    let mut guest = Probe::start(&[]);
    let (listener, url) = listen().await;
    for lines in [
        "Set-Cookie: a=b;\r\n Path=/\r\n".to_owned(),
        "Set-Cookie: id=a\x01b\x00\r\n".to_owned(),
        "not a field\r\n".to_owned(),
        "X: y\r\n".repeat(1000),
        format!("X: {}\r\n", "y".repeat(60_000)),
    ] {
        for interim in ["", "\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] {
            let (connected, _peer) = dial(&mut guest, &listener, to(&url), async |peer| {
                peer.write(format!("{interim}{}", peer.upgrade_head(&lines))).await;
            })
            .await;
            connected.unwrap_or_else(|failure| panic!("{failure:?}: {lines:?}"));
        }
    }
    for lines in [format!("X: {}\r\n", "y".repeat(65_536)), "X: y\r\n".repeat(11_000)] {
        let (connected, mut peer) = dial(&mut guest, &listener, to(&url), async |peer| {
            let head = peer.upgrade_head(&lines);
            // The host may close TCP before it has read everything.
            let _ = peer.tcp.write_all(head.as_bytes()).await;
        })
        .await;
        assert!(matches!(&connected, Err(Failure::ProtocolError(why)) if why.contains("65536")), "{connected:?}");
        peer.end().await;
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
        // Loopback by name, in several notations, and in IPv6: mapped, NAT64, 6to4.
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
    // Names and ports. Every granted name is unknown, so nothing is dialled.
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
    // A guest is not notified when a connection slot is free again.
    soon(async { while guest.connect(to(&url)).await.is_err() {} }).await;
    soon(upgrade).await.unwrap();
    // The limit for all guests of a host together.
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
