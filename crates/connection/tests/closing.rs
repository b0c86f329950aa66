//! How connections end: closing handshakes from both sides, dropped handles, lost transports, and peers
//! that break the protocol.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use websocket_connection::{CloseInfo, Connection, ConnectionState::*, Error, Message};

fn closed_with(code: u16, reason: &str) -> Result<Message, Error> {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    Ok(Message::Close(CloseInfo { code, reason }))
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

/// Sends until the transport takes no more: the output is then full, and the peer has not read it.
async fn fill_output(connection: &Connection) {
    while !waits(&mut Box::pin(connection.send(&Message::Binary(vec![0; 1 << 20].into())))).await {}
}

#[tokio::test]
async fn a_close_ends_with_the_answer_of_the_peer_after_what_it_sent_before() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    assert_eq!(connection.state(), Open);
    connection.close(Some(3001), Some("enough".to_owned())).unwrap();
    assert_eq!(connection.state(), Closing);
    assert_eq!(soon(connection.send("late")).await, Err(Error::ConnectionClosed));
    assert_eq!(peer.frame().await, (CLOSE, close_payload(3001, "enough")));
    peer.write([frame(TEXT, "last"), frame(CLOSE, close_payload(3001, ""))].concat()).await;
    assert_eq!(next(&connection).await, Ok(text("last")));
    assert_eq!(next(&connection).await, closed_with(3001, ""));
    next_is_closed(&connection).await;
    drop(peer);
    reaches(&connection, Closed).await;
}

#[tokio::test]
async fn a_close_sends_the_code_and_reason_that_were_given() {
    for (code, reason, payload) in [
        (None, None, vec![]),
        (Some(1000), None, close_payload(1000, "")),
        (None, Some("why"), close_payload(1000, "why")),
        (Some(4999), Some(""), close_payload(4999, "")),
    ] {
        let (connection, mut peer) = open(&endpoint(&[])).await;
        connection.close(code, reason.map(str::to_owned)).unwrap();
        assert_eq!(peer.frame().await, (CLOSE, payload));
    }
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let info = CloseInfo { code: 1003, reason: Some("text only".to_owned()) };
    soon(connection.send(&Message::Close(info))).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1003, "text only")));
}

#[tokio::test]
async fn a_close_that_may_not_be_sent_changes_nothing() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000];
    for (code, reason) in codes.map(|code| (code, 0)).into_iter().chain([(1000, 124)]) {
        let reason = Some("r".repeat(reason));
        assert!(matches!(connection.close(Some(code), reason.clone()), Err(Error::InvalidMessage(_))), "{code}");
        let sent = soon(connection.send(&Message::Close(CloseInfo { code, reason }))).await;
        assert!(matches!(sent, Err(Error::InvalidMessage(_))), "{code}");
    }
    assert_eq!(connection.state(), Open);
    soon(connection.send("still here")).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"still here".to_vec()));
}

#[tokio::test]
async fn a_second_close_is_fine_and_sends_nothing() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    connection.close(Some(1000), None).unwrap();
    connection.close(Some(1001), None).unwrap();
    soon(connection.send(&Message::Close(CloseInfo { code: 1002, reason: None }))).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    assert_eq!(next(&connection).await, closed_with(1000, ""));
    peer.tcp.shutdown().await.unwrap();
    peer.end().await;
    reaches(&connection, Closed).await;
    connection.close(None, None).unwrap();
}

#[tokio::test]
async fn the_close_of_the_peer_is_answered_at_once_and_given_after_what_came_before() {
    for (payload, answer, given) in [
        (close_payload(1000, "done"), close_payload(1000, ""), closed_with(1000, "done")),
        (close_payload(4000, ""), close_payload(4000, ""), closed_with(4000, "")),
        (vec![], vec![], closed_with(1005, "")),
    ] {
        let (connection, mut peer) = open(&endpoint(&[])).await;
        peer.write([frame(TEXT, "1"), frame(TEXT, "2"), frame(CLOSE, payload), frame(TEXT, "3")].concat()).await;
        assert_eq!(peer.frame().await, (CLOSE, answer));
        assert_ne!(connection.state(), Open);
        assert_eq!(soon(connection.send("late")).await, Err(Error::ConnectionClosed));
        for message in [Ok(text("1")), Ok(text("2")), given] {
            assert_eq!(next(&connection).await, message);
        }
        next_is_closed(&connection).await;
        drop(peer);
        reaches(&connection, Closed).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_ping_that_waits_for_room_leaves_before_the_close_frame() {
    for peer_closes in [false, true] {
        let (connection, mut peer) = open(&endpoint(&[])).await;
        fill_output(&connection).await;
        peer.write(frame(PING, "answer me")).await;
        assert_eq!(next(&connection).await, Ok(Message::Ping("answer me".into())));
        if peer_closes {
            peer.write(frame(CLOSE, close_payload(1000, ""))).await;
            assert_eq!(next(&connection).await, closed_with(1000, ""));
        } else {
            connection.close(Some(1000), None).unwrap();
        }
        let mut last = peer.frame().await;
        while last.0 == BINARY {
            last = peer.frame().await;
        }
        assert_eq!(last, (PONG, b"answer me".to_vec()));
        assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    }
}

#[tokio::test]
async fn a_peer_that_ends_tcp_behind_its_last_frame_and_still_reads_is_answered() {
    for backlog in [false, true] {
        for (last, code) in [(frame(CLOSE, close_payload(4000, "")), 4000), (frame(0xF1, "reserved bits"), 1002)] {
            let (connection, mut peer) = open(&endpoint(&[])).await;
            if backlog {
                fill_output(&connection).await;
            }
            peer.write(last).await;
            peer.tcp.shutdown().await.unwrap();
            while next(&connection).await != Err(Error::ConnectionClosed) {}
            let mut heard = peer.frame().await;
            while heard.0 == BINARY {
                assert!(backlog);
                heard = peer.frame().await;
            }
            assert_eq!(heard, (CLOSE, close_payload(code, "")));
            peer.end().await;
            reaches(&connection, Closed).await;
        }
    }
}

#[tokio::test]
async fn closes_that_cross_are_one_close() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write(frame(CLOSE, close_payload(1001, "theirs"))).await;
    connection.close(Some(3000), None).unwrap();
    let (kind, payload) = peer.frame().await;
    assert_eq!(kind, CLOSE);
    assert!([close_payload(3000, ""), close_payload(1001, "")].contains(&payload));
    assert_eq!(next(&connection).await, closed_with(1001, "theirs"));
    peer.tcp.shutdown().await.unwrap();
    peer.end().await;
}

#[tokio::test]
async fn calls_that_wait_learn_of_a_close() {
    let (connection, mut peer) = open(&endpoint(&[("receive-wait", "1h"), ("write-timeout", "1h")])).await;
    let mut received = Box::pin(connection.receive());
    assert!(waits(&mut received).await);
    fill_output(&connection).await;
    let mut sent = Box::pin(connection.send("never"));
    assert!(waits(&mut sent).await);
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    assert_eq!(soon(received).await, closed_with(1000, "").map(Some));
    assert_eq!(soon(sent).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn a_peer_that_never_answers_a_close_is_given_up_within_the_close_timeout() {
    for blocked in [false, true] {
        let (connection, mut peer) = open(&endpoint(&[("close-timeout", "150ms")])).await;
        peer.write(frame(TEXT, "before")).await;
        if blocked {
            fill_output(&connection).await;
        }
        let begun = Instant::now();
        connection.close(None, None).unwrap();
        reaches(&connection, Closed).await;
        assert!(begun.elapsed() >= Duration::from_millis(150));
        assert_eq!(next(&connection).await, Ok(text("before")));
        assert_eq!(next(&connection).await, Err(Error::Timeout));
        next_is_closed(&connection).await;
        drop(peer);
    }
}

#[tokio::test]
async fn an_error_is_reported_once_though_two_calls_wait_for_it() {
    let (connection, _peer) = open(&endpoint(&[("close-timeout", "50ms"), ("receive-wait", "1h")])).await;
    connection.close(None, None).unwrap();
    let (first, second) = soon(async { tokio::join!(connection.receive(), connection.receive()) }).await;
    assert!([&first, &second].contains(&&Err(Error::Timeout)), "{first:?} {second:?}");
    assert!([&first, &second].contains(&&Err(Error::ConnectionClosed)), "{first:?} {second:?}");
    next_is_closed(&connection).await;
}

#[tokio::test]
async fn a_server_that_does_not_end_tcp_after_its_close_is_given_up_without_an_error() {
    let (connection, mut peer) = open(&endpoint(&[("close-timeout", "100ms")])).await;
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    reaches(&connection, Closed).await;
    assert_eq!(next(&connection).await, closed_with(1000, ""));
    next_is_closed(&connection).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    peer.end().await;
}

#[tokio::test]
async fn a_transport_that_ends_without_a_close_gives_one_io_error_after_what_came_before() {
    for (wire, within) in [
        (frame(TEXT, "whole"), false),
        ([frame(TEXT, "whole"), frame(TEXT, "cut off")[..5].into()].concat(), true),
        ([frame(TEXT, "whole"), frame(0x01, "the first part")].concat(), true),
    ] {
        for reset in [false, true] {
            let (connection, mut peer) = open(&endpoint(&[])).await;
            peer.write(&wire).await;
            assert_eq!(next(&connection).await, Ok(text("whole")));
            if reset {
                peer.reset()
            } else {
                drop(peer)
            }
            match next(&connection).await {
                Err(Error::Io(why)) => assert_eq!(why.contains("in the middle of a message"), within, "{why}"),
                other => panic!("{other:?}"),
            }
            next_is_closed(&connection).await;
            assert_eq!(connection.state(), Closed);
            assert_eq!(soon(connection.send("late")).await, Err(Error::ConnectionClosed));
        }
    }
}

/// A server that says much, closes, and is gone before the guest has taken any of it.
async fn burst_and_leave(endpoint: &websocket_connection::Endpoint) -> (Connection, tokio::task::JoinHandle<()>) {
    let (connection, mut peer) = open(endpoint).await;
    let burst = tokio::spawn(async move {
        for number in 0..40 {
            peer.write(frame(BINARY, vec![number; 50_000])).await;
        }
        peer.write(frame(CLOSE, close_payload(1000, "that was all"))).await;
    });
    (connection, burst)
}

async fn receives_the_burst(connection: &Connection) {
    for number in 0..40 {
        assert!(next(connection).await == Ok(Message::Binary(vec![number; 50_000].into())), "message {number}");
    }
}

#[tokio::test]
async fn a_burst_before_a_close_is_received_whole_by_a_slow_guest() {
    let (connection, burst) = burst_and_leave(&endpoint(&[("inbound-buffer", "64KiB")])).await;
    receives_the_burst(&connection).await;
    assert_eq!(next(&connection).await, closed_with(1000, "that was all"));
    next_is_closed(&connection).await;
    soon(burst).await.unwrap();
}

#[tokio::test]
async fn a_close_after_a_failed_send_ends_within_its_limit_and_a_drop_at_once() {
    for is_dropped in [false, true] {
        let host = endpoint(&[("inbound-buffer", "1KiB"), ("close-timeout", "300ms")]);
        let (connection, mut peer) = open(&host).await;
        peer.write(frame(BINARY, vec![0; 1000]).repeat(20)).await;
        drop(peer);
        soon(async { while connection.send("anyone?").await.is_ok() {} }).await;
        assert_eq!(connection.state(), Closing);
        let begun = Instant::now();
        if is_dropped {
            drop(connection);
            soon(host.closed()).await;
            assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
            continue;
        }
        connection.close(Some(1000), None).unwrap();
        reaches(&connection, Closed).await;
        assert!(matches!(next(&connection).await, Ok(Message::Binary(_))));
        let failure = soon(async {
            loop {
                if let Err(error) = connection.receive().await {
                    break error;
                }
            }
        });
        assert!(matches!(failure.await, Error::Io(_)));
        next_is_closed(&connection).await;
    }
}

#[tokio::test]
async fn nothing_received_is_lost_when_a_send_fails() {
    let changes = [("inbound-buffer", "1KiB"), ("close-timeout", "100ms")];
    let (connection, mut peer) = open(&endpoint(&changes)).await;
    // No more than fits into the receive window, so that all of it has arrived when the peer is gone.
    let messages = (0..40).map(|number| vec![number; 1000]);
    peer.write(messages.clone().flat_map(|data| frame(BINARY, data)).collect::<Vec<_>>()).await;
    drop(peer);
    let failure = soon(async {
        loop {
            if let Err(error) = connection.send("anyone?").await {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(matches!(failure, Error::Io(_)), "{failure}");
    assert_eq!(connection.state(), Closing);
    assert_eq!(soon(connection.send("anyone?")).await, Err(Error::ConnectionClosed));
    // A guest may think for longer than a close may take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for data in messages {
        assert!(next(&connection).await == Ok(Message::Binary(data.into())));
    }
    assert!(matches!(next(&connection).await, Err(Error::Io(_))));
    next_is_closed(&connection).await;
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_told_so_and_the_guest_too_after_what_came_before() {
    for (wire, code) in [
        (vec![0xC1, 0x00], 1002),
        (vec![0x81, 0x81, 0, 0, 0, 0, b'a'], 1002),
        (vec![0x83, 0x00], 1002),
        (vec![0x80, 0x00], 1002),
        (frame(PING, [0; 126]), 1002),
        (frame(CLOSE, [3]), 1002),
        (frame(CLOSE, close_payload(1006, "")), 1002),
        (frame(CLOSE, close_payload(1016, "")), 1002),
        (frame(CLOSE, [&close_payload(1000, "")[..], &[0xFF]].concat()), 1007),
        (frame(TEXT, [0xC3, 0x28]), 1007),
        // The rest of this frame need not come.
        (frame(TEXT, [0xFF; 100])[..3].into(), 1007),
    ] {
        let (connection, mut peer) = open(&endpoint(&[])).await;
        peer.write([frame(TEXT, "good"), wire.clone(), frame(TEXT, "too late")].concat()).await;
        assert_eq!(peer.frame().await, (CLOSE, close_payload(code, "")), "{wire:02X?}");
        peer.end().await;
        assert_eq!(next(&connection).await, Ok(text("good")));
        assert!(matches!(next(&connection).await, Err(Error::Protocol(_))), "{wire:02X?}");
        next_is_closed(&connection).await;
        drop(peer);
        reaches(&connection, Closed).await;
    }
}

#[tokio::test]
async fn what_came_before_a_violation_may_still_be_answered() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write([frame(TEXT, "question"), frame(0xF1, "reserved bits")].concat()).await;
    assert_eq!(next(&connection).await, Ok(Message::Text("question".into())));
    connection.send("answer").await.unwrap();
    assert!(matches!(next(&connection).await, Err(Error::Protocol(_))));
    assert_eq!(peer.frame().await, (TEXT, b"answer".to_vec()));
    assert_eq!(peer.frame().await, (CLOSE, 1002u16.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_not_waited_for_once_the_guest_has_closed() {
    let broken = [frame(TEXT, "before"), frame(PING, ""), frame(0xF1, "reserved bits")].concat();
    for closed_before in [true, false] {
        // Of several, since a loaded machine may hold up any of them.
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let (connection, mut peer) = open(&endpoint(&[])).await;
            if !closed_before {
                peer.write(&broken).await;
                assert_eq!(peer.frame().await, (PONG, vec![]));
            }
            let begun = Instant::now();
            connection.close(Some(1000), None).unwrap();
            assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
            if closed_before {
                peer.write(&broken).await;
            }
            peer.end().await;
            quickest = quickest.min(begun.elapsed());
            assert_eq!(next(&connection).await, Ok(text("before")));
            assert_eq!(next(&connection).await, Ok(Message::Ping("".into())));
            assert!(matches!(next(&connection).await, Err(Error::Protocol(_))));
            next_is_closed(&connection).await;
        }
        assert!(quickest < Duration::from_millis(250), "{quickest:?}");
    }
}

#[tokio::test]
async fn what_a_full_inbox_left_undecoded_is_received_after_the_close_timeout() {
    let host = endpoint(&[("inbound-buffer", "1"), ("close-timeout", "200ms")]);
    let (connection, mut peer) = open(&host).await;
    let close = frame(CLOSE, 1000u16.to_be_bytes());
    peer.write([frame(TEXT, "1"), frame(TEXT, "2"), frame(TEXT, "3"), close].concat()).await;
    assert_eq!(next(&connection).await, Ok(Message::Text("1".into())));
    connection.close(Some(1000), None).unwrap();
    reaches(&connection, Closed).await;
    assert_eq!(next(&connection).await, Ok(Message::Text("2".into())));
    assert_eq!(next(&connection).await, Ok(Message::Text("3".into())));
    assert_eq!(next(&connection).await, Ok(Message::Close(CloseInfo { code: 1000, reason: None })));
    assert_eq!(next(&connection).await, Err(Error::ConnectionClosed));
}
