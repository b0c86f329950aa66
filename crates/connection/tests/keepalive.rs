//! Keep-alive: pings after silence, whose pong they are, and when a silent peer counts as dead.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use websocket_connection::{Connection, ConnectionState::*, Endpoint, Error, Message};

const INTERVAL: Duration = Duration::from_millis(50);

/// An endpoint whose guests may ask for any interval.
fn endpoint_without_floor(changes: &[(&str, &str)]) -> Endpoint {
    endpoint(&[&[("keepalive-floor", "1ms")], changes].concat())
}

async fn kept_alive(endpoint: &Endpoint, interval: Duration) -> (Connection, Peer) {
    open_as(endpoint, |config| config.keepalive_interval = Some(interval)).await
}

#[tokio::test]
async fn silence_is_broken_by_pings_whose_pongs_the_guest_does_not_see() {
    // Long enough for the answers of a peer that a loaded machine holds up.
    let interval = 4 * INTERVAL;
    let (connection, mut peer) = kept_alive(&endpoint_without_floor(&[]), interval).await;
    let begun = Instant::now();
    for _ in 0..3 {
        let (kind, payload) = peer.frame().await;
        assert_eq!(kind, PING);
        peer.write(frame(PONG, payload)).await;
    }
    assert!(begun.elapsed() >= 2 * interval);
    peer.write(frame(TEXT, "after")).await;
    assert_eq!(next(&connection).await, Ok(Message::Text("after".into())));
    assert_eq!(connection.state(), Open);
}

#[tokio::test]
async fn pongs_that_answer_the_guest_or_nobody_are_handed_over() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    soon(connection.send(&Message::Ping("mine".into()))).await.unwrap();
    let (kind, payload) = peer.frame().await;
    assert_eq!((kind, &payload[..]), (PING, &b"mine"[..]));
    peer.write([frame(PONG, payload), frame(PONG, "unasked")].concat()).await;
    assert_eq!(next(&connection).await, Ok(Message::Pong("mine".into())));
    assert_eq!(next(&connection).await, Ok(Message::Pong("unasked".into())));
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_dead_after_a_second_interval() {
    let (connection, mut peer) = kept_alive(&endpoint_without_floor(&[]), INTERVAL).await;
    let begun = Instant::now();
    peer.write(frame(TEXT, "last words")).await;
    assert_eq!(peer.frame().await.0, PING);
    let (kind, payload) = peer.frame().await;
    assert_eq!((kind, &payload[..2]), (CLOSE, &1011u16.to_be_bytes()[..]));
    assert!(begun.elapsed() >= 2 * INTERVAL);
    peer.end().await;
    reaches(&connection, Closed).await;
    assert_eq!(next(&connection).await, Ok(Message::Text("last words".into())));
    assert_eq!(next(&connection).await, Err(Error::Timeout));
    next_is_closed(&connection).await;
    assert_eq!(soon(connection.send("late")).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn a_peer_that_stops_reading_and_writing_is_dead_though_a_send_waits() {
    let endpoint = endpoint_without_floor(&[("write-timeout", "1h"), ("receive-wait", "1h")]);
    let (connection, _peer) = kept_alive(&endpoint, INTERVAL).await;
    let failure = soon(async {
        loop {
            if let Err(error) = connection.send(&Message::Binary(vec![0; 1 << 20].into())).await {
                break error;
            }
        }
    })
    .await;
    assert_eq!(failure, Error::ConnectionClosed);
    assert_eq!(soon(connection.receive()).await, Err(Error::Timeout));
    next_is_closed(&connection).await;
}

#[tokio::test]
async fn any_frame_that_arrives_counts_as_life() {
    let interval = Duration::from_millis(300);
    let (connection, mut peer) = kept_alive(&endpoint_without_floor(&[]), interval).await;
    let begun = Instant::now();
    // Each of these comes well within one interval, and all together take more than two.
    let mut late = false;
    for payload in 0..16 {
        let last = Instant::now();
        sleep(interval / 6).await;
        peer.write(frame(BINARY, [payload])).await;
        assert_eq!(next(&connection).await, Ok(Message::Binary(vec![payload].into())));
        late |= last.elapsed() >= interval;
    }
    assert!(begun.elapsed() > 2 * interval);
    assert_eq!(connection.state(), Open);
    connection.close(None, None).unwrap();
    // Nothing was silent for one interval, so no ping went out before the close.
    assert!(late || peer.frame().await == (CLOSE, vec![]));
}

#[tokio::test]
async fn bytes_that_wait_for_a_slow_guest_count_as_life() {
    let endpoint = endpoint_without_floor(&[("inbound-buffer", "1KiB")]);
    let (connection, mut peer) = kept_alive(&endpoint, INTERVAL).await;
    let wire: Vec<u8> = (0..20).flat_map(|number| frame(BINARY, [number; 1000])).collect();
    peer.write(wire).await;
    sleep(6 * INTERVAL).await;
    assert_eq!(connection.state(), Open);
    for number in 0..20 {
        assert_eq!(next(&connection).await, Ok(Message::Binary(vec![number; 1000].into())));
    }
    // With nothing left unread, silence counts again.
    assert_eq!(next(&connection).await, Err(Error::Timeout));
}

#[tokio::test]
async fn the_least_interval_is_the_hosts_and_none_pings_when_it_is_off() {
    let long_floor = endpoint(&[("keepalive-floor", "30s")]);
    let off = endpoint_without_floor(&[("keepalive", "false"), ("keepalive-interval", "1ms")]);
    let endless = endpoint_without_floor(&[]);
    let (floored, floored_peer) = kept_alive(&long_floor, Duration::from_millis(1)).await;
    let (silent, silent_peer) = open(&off).await;
    let (patient, patient_peer) = kept_alive(&endless, Duration::MAX).await;
    let (_wanted, mut wanted_peer) = open_as(&off, |config| config.keepalive = Some(true)).await;
    assert_eq!(wanted_peer.frame().await.0, PING);
    sleep(2 * INTERVAL).await;
    for (connection, mut peer) in [(floored, floored_peer), (silent, silent_peer), (patient, patient_peer)] {
        soon(connection.send("first")).await.unwrap();
        assert_eq!(peer.frame().await, (TEXT, b"first".to_vec()));
    }
}
