//! What `close` promises.

use crate::{open, open_in};
use std::time::{Duration, Instant};
use test_peer::{BINARY, CLOSE, Peer, TEXT, close_payload, frame};
use tests::probe::{Ask, Config, Failure, Message, Probe, State};
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_millis(300);

/// Ends TCP as a server does after the closing handshake; the client sends nothing more.
async fn end(mut peer: Peer) {
    peer.tcp.shutdown().await.unwrap();
    peer.end().await;
}

#[tokio::test]
async fn close_valid() {
    let (mut guest, open, mut peer) = open(&[]).await;
    let invalid = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1500, 2000, 2999, 5000, u16::MAX];
    for code in invalid {
        let closed = guest.close(open, Some(code), None).await;
        assert!(matches!(closed, Err(Failure::InvalidMessage(_))), "{code}: {closed:?}");
        let sent = guest.send(open, Message::Close(code, None)).await;
        assert!(matches!(sent, Err(Failure::InvalidMessage(_))), "{code}: {sent:?}");
    }
    for reason in ["r".repeat(124), "é".repeat(62)] {
        for code in [None, Some(1000)] {
            let closed = guest.close(open, code, Some(&reason)).await;
            assert!(matches!(closed, Err(Failure::InvalidMessage(_))), "{closed:?}");
        }
    }
    assert_eq!(guest.state(open).await, State::Open);
    guest.send(open, Message::Text("unharmed".into())).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"unharmed".to_vec()));
    let valid = [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999];
    for code in valid {
        let (open, mut peer) = open_in(&mut guest, Config::default()).await;
        guest.close(open, Some(code), Some(&"r".repeat(123))).await.unwrap();
        assert_eq!(peer.frame().await, (CLOSE, close_payload(code, &"r".repeat(123))));
    }
    // The same codes are valid, and the same are invalid, in received frames.
    for (code, is_valid) in valid.map(|code| (code, true)).into_iter().chain(invalid.map(|code| (code, false))) {
        let (open, mut peer) = open_in(&mut guest, Config::default()).await;
        peer.write(frame(CLOSE, close_payload(code, ""))).await;
        assert_eq!(peer.frame().await, (CLOSE, close_payload(if is_valid { code } else { 1002 }, "")));
        match guest.receive(open).await {
            Ok(received) => assert!(is_valid && received == Message::Close(code, None), "{code}: {received:?}"),
            Err(failure) => assert!(!is_valid && matches!(failure, Failure::ProtocolError(_)), "{code}: {failure:?}"),
        }
    }
}

#[tokio::test]
async fn close_default() {
    let mut guest = Probe::start(&[]);
    for (reason, payload) in
        [(None, vec![]), (Some("why"), close_payload(1000, "why")), (Some(""), close_payload(1000, ""))]
    {
        let (open, mut peer) = open_in(&mut guest, Config::default()).await;
        guest.close(open, None, reason).await.unwrap();
        assert_eq!(peer.frame().await, (CLOSE, payload));
    }
}

#[tokio::test]
async fn close_returns() {
    let (mut guest, open, mut peer) = open(&["--close-timeout", "1h"]).await;
    guest.close(open, Some(1000), None).await.unwrap();
    assert_eq!(guest.state(open).await, State::Closing);
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    // The rest of the closing handshake happens while the guest computes.
    guest.ask(&Ask::Burst(open, vec![], 1000)).await;
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    end(peer).await;
    assert_eq!(guest.outcome().await, Ok(()));
    assert_eq!(guest.state(open).await, State::Closed);
    assert_eq!(guest.receive(open).await, Ok(Message::Close(1000, None)));
    guest.is_over(open).await;
}

#[tokio::test]
async fn close_drains() {
    let (mut guest, open, mut peer) = open(&["--inbound-buffer", "64KiB"]).await;
    guest.close(open, Some(1000), None).await.unwrap();
    assert_eq!(peer.frame().await.0, CLOSE);
    let rest = tokio::spawn(async move {
        for number in 0..40 {
            peer.write(frame(BINARY, vec![number; 50_000])).await;
        }
        peer.write(frame(CLOSE, close_payload(1000, "that was all"))).await;
        end(peer).await;
    });
    for number in 0..40 {
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![number; 50_000])));
    }
    assert_eq!(guest.receive(open).await, Ok(Message::Close(1000, Some("that was all".into()))));
    guest.is_over(open).await;
    rest.await.unwrap();
}

#[tokio::test]
async fn close_unanswered() {
    let (mut guest, open, mut peer) = open(&["--close-timeout", "300ms"]).await;
    let begun = Instant::now();
    guest.close(open, Some(1000), None).await.unwrap();
    peer.write(frame(TEXT, "before the end")).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Text("before the end".into())));
    assert_eq!(guest.receive(open).await, Err(Failure::Timeout));
    assert!(begun.elapsed() >= LIMIT && begun.elapsed() < 40 * LIMIT, "{:?}", begun.elapsed());
    guest.is_over(open).await;
    assert_eq!(guest.state(open).await, State::Closed);
    assert_eq!(peer.frame().await.0, CLOSE);
    peer.end().await;
}

#[tokio::test]
async fn close_twice() {
    let (mut guest, open, mut peer) = open(&[]).await;
    guest.close(open, Some(1000), None).await.unwrap();
    guest.close(open, Some(3000), Some("again")).await.unwrap();
    guest.send(open, Message::Close(3001, None)).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    end(peer).await;
    guest.reaches(open, State::Closed).await;
    guest.close(open, None, None).await.unwrap();
}

#[tokio::test]
async fn close_echo() {
    let (mut guest, open, mut peer) = open(&[]).await;
    // The guest neither receives nor waits.
    guest.ask(&Ask::Burst(open, vec![], 1000)).await;
    peer.write(frame(CLOSE, close_payload(4321, "theirs"))).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(4321, "")));
    end(peer).await;
    assert_eq!(guest.outcome().await, Ok(()));
    assert_eq!(guest.receive(open).await, Ok(Message::Close(4321, Some("theirs".into()))));
    let (bare, mut peer) = open_in(&mut guest, Config::default()).await;
    peer.write(frame(CLOSE, [])).await;
    assert_eq!(peer.frame().await, (CLOSE, vec![]));
    assert_eq!(guest.receive(bare).await, Ok(Message::Close(1005, None)));
}
