//! What calls wait for other than messages of any kind: data alone, pongs, the end of writing, and how the connection ended.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::time::Duration;
use websocket_connection::{CloseInfo, ConnectionState, Error, Message};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

fn info(code: u16) -> CloseInfo {
    CloseInfo { code, reason: None }
}

#[tokio::test]
async fn data_is_received_without_pings_and_pongs_until_the_peer_closes() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write([frame(PING, "1"), frame(TEXT, "a"), frame(PONG, "2"), frame(CLOSE, close_payload(1000, ""))].concat())
        .await;
    assert_eq!(soon(connection.receive_data(None)).await, Ok(Some(text("a"))));
    for _ in 0..2 {
        assert_eq!(soon(connection.receive_data(None)).await, Ok(None));
    }
}

#[tokio::test]
async fn a_receive_of_data_has_the_limit_of_its_call() {
    let (connection, mut peer) = open(&endpoint(&[("receive-wait", "1ms")])).await;
    for limit in [Duration::ZERO, Duration::from_millis(20)] {
        let started = tokio::time::Instant::now();
        assert_eq!(soon(connection.receive_data(Some(limit))).await, Err(Error::Timeout));
        assert!(started.elapsed() >= limit);
    }
    // The host's receive wait is for guests that poll.
    let mut receiving = Box::pin(connection.receive_data(None));
    assert!(waits(&mut receiving).await);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(waits(&mut receiving).await);
    peer.write(frame(TEXT, "late")).await;
    assert_eq!(soon(receiving).await, Ok(Some(text("late"))));
}

#[tokio::test]
async fn a_receive_of_data_reports_a_violation_once() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write(frame(0x83, "reserved")).await;
    assert!(matches!(soon(connection.receive_data(None)).await, Err(Error::Protocol(_))));
    assert_eq!(soon(connection.receive_data(None)).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn pings_return_the_times_to_their_pongs() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let pings = async { tokio::join!(connection.ping("1"), connection.ping("2"), connection.ping("3")) };
    let pongs = async {
        for number in ["1", "2", "3"] {
            assert_eq!(peer.frame().await, (PING, number.into()));
        }
        // The second pong answers the first ping as well.
        peer.write([frame(PONG, "2"), frame(PONG, "3"), frame(TEXT, "after")].concat()).await;
    };
    let (times, ()) = soon(async { tokio::join!(pings, pongs) }).await;
    let times = <[Result<Duration, Error>; 3]>::from(times).map(Result::unwrap);
    assert!(times.is_sorted_by(|earlier, later| earlier >= later), "{times:?}");
    assert_eq!(next(&connection).await, Ok(text("after")), "no pong is a message");
}

#[tokio::test]
async fn a_ping_is_answered_while_another_call_receives() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let mut receiving = Box::pin(connection.receive_data(None));
    assert!(waits(&mut receiving).await);
    let pong = async {
        assert_eq!(peer.frame().await.0, PING);
        peer.write(frame(PONG, "!")).await;
    };
    let (time, ()) = soon(async { tokio::join!(connection.ping("!"), pong) }).await;
    time.unwrap();
    assert!(waits(&mut receiving).await);
}

#[tokio::test]
async fn a_ping_that_cannot_be_answered_fails() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    assert!(matches!(soon(connection.ping(vec![0; 126])).await, Err(Error::InvalidMessage(_))));
    let mut ping = Box::pin(connection.ping("!"));
    assert!(waits(&mut ping).await);
    assert_eq!(peer.frame().await.0, PING);
    drop(peer);
    assert_eq!(soon(ping).await, Err(Error::ConnectionClosed));
    assert_eq!(soon(connection.ping("!")).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn the_pong_of_a_ping_that_was_dropped_is_a_message() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let mut ping = Box::pin(connection.ping("!"));
    assert!(waits(&mut ping).await);
    drop(ping);
    assert_eq!(peer.frame().await.0, PING);
    peer.write(frame(PONG, "!")).await;
    assert_eq!(next(&connection).await, Ok(Message::Pong("!".into())));
}

#[tokio::test]
async fn a_flush_waits_for_a_peer_that_does_not_read() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let message = Message::Binary(vec![7; 1 << 20].into());
    let mut sent = 0;
    loop {
        let mut sending = Box::pin(connection.send(&message));
        if waits(&mut sending).await {
            break;
        }
        sent += 1;
    }
    let mut flushing = Box::pin(connection.flush());
    assert!(waits(&mut flushing).await);
    let reading = async {
        for _ in 0..sent {
            assert_eq!(peer.frame().await.1.len(), 1 << 20);
        }
    };
    let (flushed, ()) = soon(async { tokio::join!(flushing, reading) }).await;
    assert_eq!(flushed, Ok(()));
}

#[tokio::test]
async fn a_flush_writes_a_batch_that_is_held_back() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    for number in 0..3 {
        soon(connection.send(format!("{number}").as_str())).await.unwrap();
    }
    soon(connection.flush()).await.unwrap();
    for number in 0..3 {
        assert_eq!(peer.frame().await, (TEXT, format!("{number}").into_bytes()));
    }
    drop(peer);
    soon(connection.closed()).await;
    assert_eq!(soon(connection.flush()).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn the_end_is_told_to_everyone_as_often_as_they_ask() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let mut waiting = Box::pin(connection.closed());
    assert!(waits(&mut waiting).await);
    peer.write([frame(TEXT, "last"), frame(CLOSE, close_payload(3001, "bye"))].concat()).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(3001, "")));
    drop(peer);
    let closure = soon(waiting).await;
    assert_eq!(closure.received, Some(CloseInfo { code: 3001, reason: Some("bye".to_owned()) }));
    assert_eq!((&closure.sent, &closure.error), (&Some(info(3001)), &None));
    assert_eq!(connection.state(), ConnectionState::Closed);
    // What had arrived is still received.
    assert_eq!(soon(connection.receive_data(NO_WAIT)).await, Ok(Some(text("last"))));
    assert_eq!(soon(connection.receive_data(NO_WAIT)).await, Ok(None));
    assert_eq!(soon(connection.closed()).await, closure);
}

#[tokio::test]
async fn the_end_tells_what_went_wrong_though_receive_has_reported_it() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write(frame(TEXT, [0xFF])).await;
    let reported = soon(connection.receive_data(None)).await.unwrap_err();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1007, "")));
    drop(peer);
    let closure = soon(connection.closed()).await;
    assert_eq!((closure.received, closure.sent, closure.error), (None, Some(info(1007)), Some(reported)));
}

#[tokio::test]
async fn the_end_of_a_lost_connection_has_no_close_frames() {
    let (connection, peer) = open(&endpoint(&[])).await;
    peer.reset();
    let closure = soon(connection.closed()).await;
    assert!(matches!(closure.error, Some(Error::Io(_))), "{closure:?}");
    assert_eq!((closure.received, closure.sent), (None, None));
}
