//! The promises of the resource `connection`.

use crate::{dial, listen, open_in, to};
use std::time::{Duration, Instant};
use test_peer::{BINARY, CLOSE, Peer, TEXT, close_payload, frame, soon};
use tests::{
    Host,
    probe::{Ask, Config, Failure, Message, Probe, State},
};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn state_order() {
    let mut guest = Probe::start(&["--receive-wait", "0s"]);
    for ours in [true, false] {
        let (open, mut peer) = open_in(&mut guest, Config::default()).await;
        assert_eq!(guest.state(open).await, State::Open);
        let close = frame(CLOSE, close_payload(1000, ""));
        if ours {
            guest.close(open, Some(1000), None).await.unwrap();
            assert_eq!(guest.state(open).await, State::Closing);
            assert_eq!(peer.frame().await.0, CLOSE);
            peer.write(close).await;
        } else {
            peer.write(close).await;
            assert_eq!(peer.frame().await.0, CLOSE);
            assert_eq!(guest.state(open).await, State::Closing);
        }
        peer.tcp.shutdown().await.unwrap();
        peer.end().await;
        guest.reaches(open, State::Closed).await;
        // No later event moves the state back.
        assert_eq!(guest.receive(open).await, Ok(Message::Close(1000, None)));
        guest.is_over(open).await;
        guest.close(open, None, None).await.unwrap();
        assert_eq!(guest.send(open, Message::Text("late".into())).await, Err(Failure::ConnectionClosed));
        assert_eq!(guest.state(open).await, State::Closed);
    }
}

#[tokio::test]
async fn subprotocol() {
    let mut guest = Probe::start(&[]);
    let (listener, url) = listen().await;
    let config = Config { subprotocols: Some(vec!["v2".to_owned(), "v1".to_owned()]), ..to(url) };
    for chosen in [Some("v1"), None] {
        let line = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let upgrade = async |peer: &mut Peer| peer.upgrade(&line).await;
        let (connected, peer) = dial(&mut guest, &listener, config.clone(), upgrade).await;
        let open = connected.unwrap();
        std::mem::drop(peer);
        guest.reaches(open, State::Closed).await;
        assert_eq!(guest.subprotocol(open).await.as_deref(), chosen);
    }
}

/// Asserts that the client closes with 1001, answers, and waits for the end of TCP.
async fn sees_1001(mut peer: Peer) {
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")));
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    peer.tcp.shutdown().await.unwrap();
    peer.end().await;
}

#[tokio::test]
async fn drop() {
    // The handle.
    let (mut guest, open, peer) = crate::open(&[]).await;
    guest.drop_connection(open).await;
    sees_1001(peer).await;
    // The instance, by its end and by Ctrl-C; the program ends with its connections.
    let (_, one) = open_in(&mut guest, Config::default()).await;
    let (_, two) = open_in(&mut guest, Config::default()).await;
    let ((status, _), (), ()) = soon(async { tokio::join!(guest.end(), sees_1001(one), sees_1001(two)) }).await;
    assert!(status.success());
    let (mut guest, open, peer) = crate::open(&[]).await;
    guest.ask(&Ask::Receive(open)).await;
    let ((status, _), ()) = soon(async { tokio::join!(guest.interrupt(), sees_1001(peer)) }).await;
    assert_eq!(status.code(), Some(130));
    // The store: its connections end within the close timeout, even if peers do not answer.
    let host = Host::new(&[("close-timeout", "300ms"), ("inbound-buffer", "64KiB")]);
    let (mut guest, running) = host.probe_of(host.endpoint());
    let (_silent, mut silent_peer) = open_in(&mut guest, Config::default()).await;
    let (_flooded, mut flooding_peer) = open_in(&mut guest, Config::default()).await;
    let flood = tokio::spawn(async move {
        let part = frame(BINARY, [0; 100_000]);
        while flooding_peer.tcp.write_all(&part).await.is_ok() {}
    });
    let (blocked, _blocked_peer) = open_in(&mut guest, Config::default()).await;
    guest.ask(&Ask::Burst(blocked, vec![Message::Binary(vec![0; 1 << 20]); 32], 0)).await;
    let begun = Instant::now();
    running.abort();
    soon(host.endpoint().closed()).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(silent_peer.frame().await, (CLOSE, close_payload(1001, "")));
    silent_peer.end().await;
    soon(flood).await.unwrap();
}

#[tokio::test]
async fn isolation() {
    let host = Host::new(&[]);
    let (mut good, _running) = host.probe();
    let (open, mut peer) = open_in(&mut good, Config::default()).await;
    let (mut bad, trapped) = host.probe();
    let (_, bad_peer) = open_in(&mut bad, Config::default()).await;
    // The guest has no such connection, so it panics.
    bad.ask(&Ask::Receive(1000)).await;
    assert!(soon(trapped).await.unwrap().is_err());
    sees_1001(bad_peer).await;
    good.send(open, Message::Text("unharmed".into())).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"unharmed".to_vec()));
    peer.write(frame(TEXT, "answer")).await;
    assert_eq!(good.receive(open).await, Ok(Message::Text("answer".into())));
}
