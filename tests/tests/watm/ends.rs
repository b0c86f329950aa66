//! What the end of one direction means. A transport sees it as the end of a stream, and passes it on with `sock_shutdown`, or
//! ends.

use crate::*;
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, close_payload, frame};

const SENT: usize = 3_000_000;

/// A transport that reads its caller and writes to the network, and never reads the network.
const WRITER: &str = r#"(module
    (import "env" "host_dial" (func $dial (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 4)
    (global (export "_water_v0") i32 (i32.const 0))
    (func (export "_start") (call $exit (i32.const 0)))
    (func (export "_water_init") (result i32) (i32.const 0))
    (func (export "_water_dial") (param i32) (result i32) (call $dial))
    (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
    (func (export "_water_worker") (result i32)
        (loop
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
            (if (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eqz (i32.load (i32.const 16))) (then (return (i32.const 0))))
            (br_if 0 (i32.eqz (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 20)))))
        (i32.const 0)))"#;

#[tokio::test]
async fn a_transport_that_only_writes_has_its_peers_pings_and_close_answered() {
    let folder = tempfile::tempdir().unwrap();
    let writer = folder.path().join("writer.wasm");
    std::fs::write(&writer, wat::parse_str(WRITER).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("ws://localhost:{}/", listener.local_addr().unwrap().port());
    let options = ["--inbound-buffer", "1KiB"];
    let dialer = Watm::start_with(&writer, "dial", "tcp://127.0.0.1:0", &server, &options).await;
    let mut caller = dialer.connect().await;
    let mut peer = Peer::accept(&listener).await;
    peer.upgrade("").await;
    peer.write(frame(BINARY, [0; 2000])).await;
    for number in 0..2000_u32 {
        if number % 100 == 0 {
            caller.write_all(b"!").await.unwrap();
            assert_eq!(peer.frame().await, (BINARY, b"!".into()));
        }
        peer.write([frame(PING, number.to_be_bytes()), frame(PONG, [])].concat()).await;
        assert_eq!(peer.frame().await, (PONG, number.to_be_bytes().into()));
    }
    peer.write(frame(CLOSE, close_payload(4000, ""))).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(4000, "")));
}

#[tokio::test]
async fn over_tcp_a_transport_passes_one_end_on_and_the_other_direction_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let half_close = config(&folder, "half-close");
    let (listener, server) = far().await;
    let (module, network) = (transport_path("async_transport"), Network::of("tcp://127.0.0.1:0"));
    let half_close = ["--config-file", half_close.to_str().unwrap()];
    let chain = Chain::start(&module, &network, &server, &half_close, &half_close).await;
    let mut caller = chain.connect().await;
    let (mut far, _) = soon(listener.accept()).await.unwrap();
    let answers = async {
        let got = rest(&mut far).await;
        assert!(got == bytes(SENT), "{} bytes arrived", got.len());
        far.write_all(&got).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let asks = async {
        caller.write_all(&bytes(SENT)).await.unwrap();
        caller.shutdown().await.unwrap();
        let got = rest(&mut caller).await;
        assert!(got == bytes(SENT), "{} bytes came back", got.len());
    };
    soon(async { tokio::join!(answers, asks) }).await;
    chain.end().await;
}

#[tokio::test]
async fn without_a_half_close_the_end_of_one_direction_ends_both_and_loses_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let half_close = config(&folder, "half-close");
    let half_close = ["--config-file", half_close.to_str().unwrap()];
    let (listener, server) = far().await;
    let (blocking, on_tokio) = (transport_path("transport"), transport_path("async_transport"));
    let (tcp, websocket) = (Network::of("tcp://127.0.0.1:0"), Network::of("ws://127.0.0.1:0/t"));
    // Transports of both kinds without half-close, and a network without it.
    for (module, network, options) in [
        (&blocking, &tcp, &[][..]),
        (&on_tokio, &tcp, &[]),
        (&blocking, &websocket, &[]),
        (&on_tokio, &websocket, &half_close),
    ] {
        let chain = Chain::start(module, network, &server, options, options).await;
        let mut caller = chain.connect().await;
        let (mut far, _) = soon(listener.accept()).await.unwrap();
        let sends = async {
            caller.write_all(&bytes(SENT)).await.unwrap();
            caller.shutdown().await.unwrap();
            assert!(rest(&mut caller).await.is_empty());
        };
        let (got, ()) = soon(async { tokio::join!(rest(&mut far), sends) }).await;
        assert!(got == bytes(SENT), "{} bytes arrived", got.len());
        // The same in the opposite direction.
        let mut caller = chain.connect().await;
        let (mut far, _) = soon(listener.accept()).await.unwrap();
        let answers = async {
            far.write_all(&bytes(SENT)).await.unwrap();
            drop(far);
        };
        let (got, ()) = soon(async { tokio::join!(rest(&mut caller), answers) }).await;
        assert!(got == bytes(SENT), "{} bytes came", got.len());
        chain.end().await;
    }
}
