//! Callers that reset their connections while bytes are under way, in every role and over every network.

use crate::*;
use std::time::Instant;
use test_peer::{Peer, read_head};
use tests::faults::comes_true_within;
use tokio::task::JoinSet;

const CALLERS: usize = 3;

/// The head of a request for a WebSocket, and a binary message of 1 MiB with a mask of zeros.
const HANDSHAKE: &str = "GET /t HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const MESSAGE: [u8; 14] = [0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];

/// Has callers, over TCP or as WebSocket clients, send without reading until they block, and then reset their connections.
async fn blocked_callers_reset(at: &str) {
    let mut callers = JoinSet::new();
    let (scheme, rest) = at.split_once("://").unwrap();
    let is_websocket = scheme == "ws";
    let at = rest.split('/').next().unwrap();
    for _ in 0..CALLERS {
        let at = at.to_owned();
        callers.spawn(async move {
            let mut tcp = TcpStream::connect(at).await.unwrap();
            let mut part = bytes(1 << 20);
            if is_websocket {
                tcp.write_all(HANDSHAKE.as_bytes()).await.unwrap();
                assert!(read_head(&mut tcp).await.starts_with("HTTP/1.1 101 "));
                part = [&MESSAGE[..], &part].concat();
            }
            while timeout(Duration::from_secs(1), tcp.write_all(&part)).await.is_ok_and(|sent| sent.is_ok()) {}
            tcp.set_zero_linger().unwrap();
        });
    }
    while let Some(reset) = callers.join_next().await {
        reset.unwrap();
    }
}

/// A server over TCP, or for WebSockets, that never reads.
async fn never_reads(scheme: &str) -> String {
    let (listener, at) = far().await;
    let is_websocket = scheme == "ws";
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let mut peer = if is_websocket { Ok(Peer::over(tcp).await) } else { Err(tcp) };
            if let Ok(peer) = &mut peer {
                peer.upgrade("").await;
            }
            all.push(peer);
        }
    });
    if is_websocket { at.replace("tcp", "ws") + "/t" } else { at }
}

fn held(programs: &[Watm]) -> Vec<usize> {
    programs.iter().map(|watm| kernel::descriptors(watm.program.process())).collect()
}

/// Waits until the programs hold what they did before, and the image of a memory, which the first instance has made.
async fn nothing_is_left(programs: &[Watm], before: &[usize]) {
    for (watm, before) in programs.iter().zip(before) {
        let process = watm.program.process();
        // A leaked connection stays forever; a busy machine is only slow.
        let left = format!("{} has descriptors left", watm.at);
        comes_true_within(Duration::from_secs(20), &left, || kernel::descriptors(process) <= before + 1).await;
    }
}

async fn ends_at_once(programs: impl IntoIterator<Item = Watm>) {
    for watm in programs {
        let asked = Instant::now();
        let (status, log) = watm.program.interrupt().await;
        assert!(status.success(), "{status}: {log}");
        assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}: {log}", asked.elapsed());
    }
}

#[tokio::test]
async fn connections_end_whose_callers_reset_while_both_directions_are_full() {
    let server = echo().await;
    for network in Network::all() {
        for module in ["transport", "async_transport"] {
            let chain = Chain::start(&transport_path(module), &network, &server, &[], &[]).await;
            let before = held(&chain.0);
            blocked_callers_reset(&chain.0[0].at).await;
            nothing_is_left(&chain.0, &before).await;
            ends_at_once(chain.0).await;
        }
    }
}

#[tokio::test]
async fn a_stop_is_prompt_while_both_directions_are_full() {
    let server = echo().await;
    for network in Network::all() {
        let chain = Chain::start(&transport_path("transport"), &network, &server, &[], &[]).await;
        let mut callers = Vec::new();
        for _ in 0..3 {
            let mut tcp = chain.connect().await;
            let part = bytes(1 << 20);
            while timeout(Duration::from_secs(1), tcp.write_all(&part)).await.is_ok() {}
            callers.push(tcp);
        }
        ends_at_once(chain.0).await;
    }
}

#[tokio::test]
async fn connections_end_whose_callers_reset_while_the_other_end_never_reads() {
    for module in ["transport", "async_transport"] {
        for (role, local, remote) in [
            ("dial", "tcp://127.0.0.1:0", "tcp"),
            ("dial", "tcp://127.0.0.1:0", "ws"),
            ("listen", "tcp://127.0.0.1:0", "tcp"),
            ("listen", "ws://127.0.0.1:0/t", "tcp"),
            ("relay", "ws://127.0.0.1:0/t", "ws"),
        ] {
            let (module, remote) = (transport_path(module), never_reads(remote).await);
            let limit = ["--close-timeout", "1s"];
            let programs = [Watm::start_with(&module, role, local, &remote, &limit).await];
            let before = held(&programs);
            blocked_callers_reset(&programs[0].at).await;
            nothing_is_left(&programs, &before).await;
            ends_at_once(programs).await;
        }
    }
}

#[tokio::test]
async fn a_transport_that_returned_is_closed_within_the_close_timeout_whatever_its_peers_do() {
    let folder = tempfile::tempdir().unwrap();
    // Writes to its network until that fails, and returns.
    let writes = transport(
        &folder,
        "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 65536))
         (loop
            (br_if 0 (i32.eqz (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 65532)))))
         (i32.const 0)",
    );
    let (listener, server) = far().await;
    let peers = tokio::spawn(async move {
        let mut peers = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            // It reads nothing.
            peers.push(tcp);
        }
    });
    let limits = ["--close-timeout", "1s", "--write-timeout", "1s"];
    let dialer = Watm::start_with(&writes, "dial", "tcp://127.0.0.1:0", &server, &limits).await;
    let programs = [dialer];
    let before = held(&programs);
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = programs[0].connect().await;
        soon(caller.read_u8()).await.unwrap();
        callers.push(caller);
    }
    nothing_is_left(&programs, &before).await;
    ends_at_once(programs).await;
    peers.abort();
}
