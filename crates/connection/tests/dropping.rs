//! What is left of a connection whose handle, thread or runtime goes away: nothing, and in time.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::{
    io::Read,
    time::{Duration, Instant},
};
use tokio::runtime;
use websocket_connection::{ConnectionState::*, Error, Message};

#[tokio::test]
async fn a_dropped_handle_says_that_it_goes_away_and_is_closed_with_the_answer() {
    let endpoint = endpoint(&[]);
    let (connection, mut peer) = open(&endpoint).await;
    drop(connection);
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")));
    let mut closed = Box::pin(endpoint.closed());
    assert!(waits(&mut closed).await);
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    drop(peer);
    soon(closed).await;
}

#[tokio::test]
async fn a_dropped_handle_frees_everything_within_the_close_timeout_whatever_the_peer_does() {
    let endpoint = endpoint(&[("close-timeout", "200ms"), ("inbound-buffer", "1KiB")]);
    let (silent, mut silent_peer) = open(&endpoint).await;
    let (flooded, mut flooding) = open(&endpoint).await;
    let flood = tokio::spawn(async move {
        let part = frame(BINARY, [0; 100_000]);
        while tokio::io::AsyncWriteExt::write_all(&mut flooding.tcp, &part).await.is_ok() {}
    });
    let (blocked, blocked_peer) = open(&endpoint).await;
    while !waits(&mut Box::pin(blocked.send(&Message::Binary(vec![0; 1 << 20].into())))).await {}
    let begun = Instant::now();
    drop((silent, flooded, blocked));
    soon(endpoint.closed()).await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(silent_peer.frame().await, (CLOSE, close_payload(1001, "")));
    silent_peer.end().await;
    // The peer of a socket that is gone cannot write for ever.
    soon(flood).await.unwrap();
    drop(blocked_peer);
}

#[tokio::test]
async fn an_endpoint_waits_for_its_own_connections_only() {
    let ours = endpoint(&[]);
    let theirs = ours.for_guest();
    let (first, mut first_peer) = open(&ours).await;
    let (_second, _second_peer) = open(&theirs).await;
    let mut closed = Box::pin(ours.closed());
    assert!(waits(&mut closed).await);
    drop(first);
    assert_eq!(first_peer.frame().await.0, CLOSE);
    first_peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    drop(first_peer);
    soon(closed).await;
    soon(ours.closed()).await;
    assert!(waits(&mut Box::pin(theirs.closed())).await);
}

#[tokio::test]
async fn a_handle_may_be_dropped_after_its_close_has_begun_or_ended() {
    let endpoint = endpoint(&[]);
    let (connection, mut peer) = open(&endpoint).await;
    connection.close(Some(1000), None).unwrap();
    drop(connection);
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    peer.write(frame(CLOSE, close_payload(1000, ""))).await;
    drop(peer);
    let (connection, peer) = open(&endpoint).await;
    drop(peer);
    reaches(&connection, Closed).await;
    drop(connection);
    soon(endpoint.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_may_be_dropped_at_any_moment_of_their_work() {
    let endpoint = endpoint(&[]);
    let url = echo_server().await;
    let guests = (0..64).map(|moment| {
        let (endpoint, url) = (endpoint.clone(), url.clone());
        tokio::spawn(async move {
            let connection = soon(endpoint.connect(to(url))).await.unwrap();
            let work = async {
                loop {
                    connection.send(&Message::Binary(vec![0; 10_000].into())).await.unwrap();
                    connection.receive().await.unwrap();
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(moment), work).await;
        })
    });
    for guest in guests.collect::<Vec<_>>() {
        soon(guest).await.unwrap();
    }
    soon(endpoint.closed()).await;
}

#[tokio::test]
async fn a_handle_may_be_dropped_by_a_thread_without_a_runtime() {
    let endpoint = endpoint(&[]);
    let (connection, mut peer) = open(&endpoint).await;
    std::thread::spawn(move || {
        assert!(runtime::Handle::try_current().is_err());
        drop(connection);
    });
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")));
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    drop(peer);
    soon(endpoint.closed()).await;
}

fn single_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_shuts_down_ends_its_connections() {
    let endpoint = endpoint(&[]);
    let host = single_thread();
    let (connection, peer) = host.block_on(async {
        let (connection, mut peer) = open(&endpoint).await;
        peer.write([frame(TEXT, "before"), frame(PING, "")].concat()).await;
        assert_eq!(peer.frame().await.0, PONG);
        (connection, peer)
    });
    let mut tcp = peer.tcp.into_std().unwrap();
    drop(host);
    assert_eq!(connection.state(), Closed);
    tcp.set_nonblocking(false).unwrap();
    assert_eq!(tcp.read(&mut [0]).unwrap_or_default(), 0);
    single_thread().block_on(async {
        assert_eq!(next(&connection).await, Ok(Message::Text("before".into())));
        assert_eq!(next(&connection).await, Ok(Message::Ping("".into())));
        assert!(matches!(next(&connection).await, Err(Error::Io(_))));
        next_is_closed(&connection).await;
        assert_eq!(connection.send("late").await, Err(Error::ConnectionClosed));
    });
    drop(connection);
    single_thread().block_on(async { soon(endpoint.closed()).await });
}

#[test]
fn a_runtime_that_shuts_down_before_it_ran_the_connection_ends_it_too() {
    let endpoint = endpoint(&[]);
    let (server, host) = (single_thread(), single_thread());
    let url = server.block_on(echo_server());
    std::thread::scope(|threads| {
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        threads.spawn(|| server.block_on(wait));
        let connection = host.block_on(async { soon(endpoint.connect(to(url))).await }).unwrap();
        drop(host);
        done.send(()).unwrap();
        assert_eq!(connection.state(), Closed);
    });
}
