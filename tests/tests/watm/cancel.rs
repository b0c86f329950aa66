//! Transports that are cancelled, in every state.

use crate::*;
use std::time::Instant;

#[tokio::test]
async fn connections_are_cancelled_cleanly_in_every_state() {
    let (network, remote) = far().await;
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
    let (mut idle, mut read) = (dialer.connect().await, dialer.connect().await);
    let (mut first, _) = soon(network.accept()).await.unwrap();
    let (mut second, _) = soon(network.accept()).await.unwrap();
    read.write_all(b"x").await.unwrap();
    soon(async {
        tokio::select! { _ = first.read_u8() => {}, _ = second.read_u8() => {} }
    })
    .await;
    dialer.end().await;
    for tcp in [&mut idle, &mut read, &mut first, &mut second] {
        assert!(matches!(soon(tcp.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_connection_is_cancelled_while_its_peer_does_not_read() {
    let (network, remote) = far().await;
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
    let mut caller = dialer.connect().await;
    let (_far, _) = soon(network.accept()).await.unwrap();
    // Until the kernel's buffers and the transport's are full.
    let part = bytes(1 << 20);
    while timeout(Duration::from_millis(500), caller.write_all(&part)).await.is_ok() {}
    let asked = Instant::now();
    dialer.end().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_connection_is_cancelled_cleanly_while_its_caller_never_stops_sending() {
    let (network, remote) = far().await;
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
    let (mut caller, (mut far, _)) = (dialer.connect().await, soon(network.accept()).await.unwrap());
    let sends = tokio::spawn(async move {
        let part = bytes(1 << 20);
        while caller.write_all(&part).await.is_ok() {}
    });
    let reads = tokio::spawn(async move {
        let mut got = vec![0; 1 << 20];
        while !matches!(far.read(&mut got).await, Ok(0) | Err(_)) {}
    });
    // Nothing is logged: it ended by itself.
    dialer.end().await;
    soon(sends).await.unwrap();
    soon(reads).await.unwrap();
}
