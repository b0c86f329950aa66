//! WATM transports in the program: every role, over TCP and over WebSockets, and what can go wrong on the way.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use test_peer::Authority;
use tests::{Running, kernel::processor_millis, program, soon, transport_path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

/// A transport that runs.
struct Watm {
    program: Running,
    /// Where it listens: a URL.
    at: String,
}

impl Watm {
    async fn start(role: &str, local: &str, remote: &str, options: &[&str]) -> Watm {
        let path = transport_path("transport");
        let module = path.to_str().unwrap();
        let args = [&["watm", role, module, "--local", local, "--remote", remote][..], options].concat();
        let mut program = Running::start(&args);
        let at = program.line("listening on ").await;
        Watm { program, at }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at.strip_prefix("tcp://").unwrap()).await.unwrap()
    }

    async fn end(self) {
        let (status, log) = self.program.interrupt().await;
        assert!(status.success() && log.is_empty(), "{status}: {log}");
    }
}

/// A server that sends back what comes, until its client ends.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tcp.split();
                // A client that is gone ends it as well.
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    at
}

/// Bytes that are not like their neighbours.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place ^ place >> 8 ^ place >> 16) as u8).collect()
}

async fn echoes(tcp: &mut TcpStream, count: usize) {
    let sent = bytes(count);
    let mut got = vec![0; count];
    let (mut reader, mut writer) = tcp.split();
    let (written, read) = soon(async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got)) }).await;
    written.unwrap();
    read.unwrap();
    assert!(got == sent, "{count} bytes came back otherwise");
}

fn config(folder: &TempDir, content: &str) -> PathBuf {
    let path = folder.path().join("config");
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn every_role_carries_bytes_over_tcp_and_over_websockets() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let ca = authority.file("ca.pem");
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let folder = tempfile::tempdir().unwrap();
    let reverse = config(&folder, "reverse");
    let reverse = ["--config-file", reverse.to_str().unwrap()];
    let server = echo().await;
    for (network, accepting, dialling) in [
        ("tcp://127.0.0.1:0", &[][..], &[][..]),
        ("ws://127.0.0.1:0/t", &[], &[]),
        ("wss://127.0.0.1:0/t", &tls, &["--ca-cert", &ca]),
    ] {
        for transform in [&[][..], &reverse] {
            // Caller, dialer, network, relay, network, listener, server.
            let listener = Watm::start("listen", network, &server, &[accepting, transform].concat()).await;
            let onwards = listener.at.replace("127.0.0.1", "localhost");
            let relay = Watm::start("relay", network, &onwards, &[accepting, dialling].concat()).await;
            let onwards = relay.at.replace("127.0.0.1", "localhost");
            let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &onwards, &[dialling, transform].concat()).await;
            let mut caller = dialer.connect().await;
            let most = if transform.is_empty() { 64 << 20 } else { 4 << 20 };
            for count in [1, 125, 65_536, most] {
                echoes(&mut caller, count).await;
            }
            // Its end goes through all of them, and nothing before it is lost.
            caller.shutdown().await.unwrap();
            let mut rest = Vec::new();
            soon(caller.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.is_empty());
            for program in [dialer, relay, listener] {
                program.end().await;
            }
        }
    }
}

#[tokio::test]
async fn what_goes_over_the_network_is_what_the_transport_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let reverse = config(&folder, "reverse");
    let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("tcp://{}", network.local_addr().unwrap());
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &["--config-file", reverse.to_str().unwrap()]).await;
    let mut caller = dialer.connect().await;
    let (mut far, _) = soon(network.accept()).await.unwrap();
    caller.write_all(&[1, 2, 3]).await.unwrap();
    let mut got = [0; 3];
    soon(far.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, [128, 64, 192]);
    // A peer that goes ends the caller's connection too.
    drop(far);
    assert_eq!(soon(caller.read(&mut got)).await.unwrap(), 0);
    dialer.end().await;
}

#[tokio::test]
async fn connections_are_cancelled_in_order_whatever_they_are_at() {
    let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("tcp://{}", network.local_addr().unwrap());
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
    let (mut idle, mut read) = (dialer.connect().await, dialer.connect().await);
    let (mut first, _) = soon(network.accept()).await.unwrap();
    let (mut second, _) = soon(network.accept()).await.unwrap();
    read.write_all(b"x").await.unwrap();
    let before = processor_millis(dialer.program.process());
    soon(async {
        tokio::select! { _ = first.read_u8() => {}, _ = second.read_u8() => {} }
    })
    .await;
    assert!(processor_millis(dialer.program.process()) - before < 500, "idle connections cost next to nothing");
    dialer.end().await;
    for tcp in [&mut idle, &mut read, &mut first, &mut second] {
        assert!(matches!(soon(tcp.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_connection_is_cancelled_while_its_peer_does_not_read() {
    let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("tcp://{}", network.local_addr().unwrap());
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
    let mut caller = dialer.connect().await;
    let (_far, _) = soon(network.accept()).await.unwrap();
    // Until the kernel's buffers and the transport's are full.
    let part = bytes(1 << 20);
    while timeout(Duration::from_millis(500), caller.write_all(&part)).await.is_ok() {}
    let (status, log) = dialer.program.interrupt().await;
    assert!(status.success() && log.contains("did not end within 5s after it was cancelled"), "{status}: {log}");
}

/// A transport whose worker is this, and that dials as it should.
fn transport(folder: &TempDir, worker: &str) -> String {
    let text = format!(
        r#"(module
            (import "env" "host_dial" (func $dial (result i32)))
            (memory (export "memory") 1)
            (func (export "_water_v0"))
            (func (export "_water_init") (result i32) (i32.const 0))
            (func (export "_water_dial") (param i32) (result i32) (call $dial))
            (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
            (func (export "_water_worker") (result i32) {worker}))"#
    );
    let file = folder.path().join("transport.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_worker_that_fails_or_never_ends_costs_its_connection_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = echo().await;
    for (worker, said) in [
        ("unreachable", Some("`_water_worker` of the transport failed: wasm trap")),
        ("(i32.const 12345)", None),
        ("(loop (br 0)) (i32.const 0)", Some("did not end within 5s")),
    ] {
        let module = transport(&folder, worker);
        let args = ["watm", "dial", &module, "--local", "tcp://127.0.0.1:0", "--remote", &server];
        let mut program = Running::start(&args);
        let at = program.line("listening on tcp://").await;
        let mut callers = [TcpStream::connect(&at).await.unwrap(), TcpStream::connect(&at).await.unwrap()];
        if !worker.starts_with("(loop") {
            for caller in &mut callers {
                assert!(matches!(soon(caller.read(&mut [0; 8])).await, Ok(0) | Err(_)));
            }
        }
        let (status, log) = program.interrupt().await;
        assert!(status.success(), "{status}: {log}");
        assert!(said.map_or(log.is_empty(), |said| log.contains(said)), "{worker}: {log}");
    }
}

/// A transport as those that always ask whether they can write: the version is a global, and its worker polls its three
/// descriptors for reading and two of them for writing.
const EAGER: &str = r#"(module
    (import "env" "host_dial" (func $dial (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 4)
    (global (export "_water_v0") i32 (i32.const 0))
    (func (export "_start") (call $exit (i32.const 0)))
    (func (export "_water_init") (result i32) (i32.const 0))
    (func (export "_water_dial") (param i32) (result i32) (call $dial))
    (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
    (func $subscribe (param $place i32) (param $kind i32) (param $fd i32)
        (local.set $place (i32.add (i32.const 131072) (i32.mul (local.get $place) (i32.const 48))))
        (i32.store8 (i32.add (local.get $place) (i32.const 8)) (local.get $kind))
        (i32.store (i32.add (local.get $place) (i32.const 16)) (local.get $fd)))
    (func $move (param $from i32) (param $to i32) (result i32) (local $error i32)
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
        (local.set $error (call $read (local.get $from) (i32.const 0) (i32.const 1) (i32.const 16)))
        (if (i32.eq (local.get $error) (i32.const 6)) (then (return (i32.const 1))))
        (if (local.get $error) (then unreachable))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (if (call $write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 20)) (then unreachable))
        (i32.load (i32.const 16)))
    (func (export "_water_worker") (result i32)
        (drop (call $flags (i32.const 3) (i32.const 4))) (drop (call $flags (i32.const 4) (i32.const 4)))
        (call $subscribe (i32.const 0) (i32.const 1) (i32.const 3)) (call $subscribe (i32.const 1) (i32.const 1) (i32.const 4))
        (call $subscribe (i32.const 2) (i32.const 1) (i32.const 5)) (call $subscribe (i32.const 3) (i32.const 2) (i32.const 3))
        (call $subscribe (i32.const 4) (i32.const 2) (i32.const 4))
        (loop
            (if (call $poll (i32.const 131072) (i32.const 135168) (i32.const 5) (i32.const 24)) (then unreachable))
            (br_if 0 (i32.and
                (i32.ne (call $move (i32.const 3) (i32.const 4)) (i32.const 0))
                (i32.ne (call $move (i32.const 4) (i32.const 3)) (i32.const 0)))))
        (i32.const 0)))"#;

#[tokio::test]
async fn idle_transports_of_both_families_sleep() {
    let folder = tempfile::tempdir().unwrap();
    let eager = folder.path().join("eager.wasm");
    std::fs::write(&eager, wat::parse_str(EAGER).unwrap()).unwrap();
    let server = echo().await;
    for module in [transport_path("transport"), eager] {
        let module = module.to_str().unwrap();
        let args = ["watm", "dial", module, "--local", "tcp://127.0.0.1:0", "--remote", &server];
        let mut program = Running::start(&args);
        let at = program.line("listening on tcp://").await;
        let mut caller = TcpStream::connect(&at).await.unwrap();
        echoes(&mut caller, 100_000).await;
        // What is measured is what happens while nothing does. One that is awake takes all of a core.
        let before = processor_millis(program.process());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = processor_millis(program.process()) - before;
        println!("{module}: {used} ms of processor time in a second");
        assert!(used < 300, "{module} used {used} ms");
        drop(caller);
        let (status, log) = program.interrupt().await;
        assert!(status.success() && !log.contains("failed"), "{status}: {log}");
    }
}

#[tokio::test]
async fn without_descriptors_callers_wait_until_another_goes() {
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &echo().await, &[]).await;
    let mut first = dialer.connect().await;
    echoes(&mut first, 100).await;
    let process = dialer.program.process().to_string();
    let limit = async |most: &str| {
        let limited = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={most}:")]).status().await;
        assert!(limited.unwrap().success());
    };
    // No number is left for a new one.
    limit("3").await;
    let mut second = dialer.connect().await;
    second.write_all(b"?").await.unwrap();
    // Nothing says that a caller waits, but that it has no answer.
    assert!(timeout(Duration::from_millis(500), second.read_u8()).await.is_err());
    limit("1000").await;
    drop(first);
    assert_eq!(soon(second.read_u8()).await.unwrap(), b'?');
    let (status, log) = dialer.program.interrupt().await;
    assert!(status.success() && log.contains("cannot accept a connection"), "{status}: {log}");
}

#[tokio::test]
async fn a_network_that_is_not_there_ends_the_caller_and_is_logged() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for remote in [format!("tcp://{dead}"), format!("ws://{dead}/t")] {
        let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
        let mut caller = dialer.connect().await;
        assert!(matches!(soon(caller.read(&mut [0; 8])).await, Ok(0) | Err(_)));
        let (status, log) = dialer.program.interrupt().await;
        assert!(
            status.success() && log.contains(&remote) && log.contains("`_water_dial` of the transport gave -53"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = transport_path("transport");
    let module = path.to_str().unwrap();
    let other = folder.path().join("other.wasm");
    std::fs::write(&other, wat::parse_str(r#"(module (func (export "_water_init")))"#).unwrap()).unwrap();
    let other = other.to_str().unwrap();
    let (tcp, ws) = ("tcp://127.0.0.1:0", "wss://127.0.0.1:0/t");
    for (args, code, said) in [
        (
            &["dial", other, "--local", tcp, "--remote", tcp][..],
            1,
            "does not export `memory`; it does not export `_water_v0`",
        ),
        (&["dial", module, "--local", ws, "--remote", tcp], 1, "callers connect over TCP"),
        (&["listen", module, "--local", ws, "--remote", tcp], 1, "needs a certificate"),
        (&["dial", module, "--local", "127.0.0.1:0", "--remote", tcp], 2, "write tcp://HOST:PORT"),
        (&["dial", module, "--local", tcp, "--remote", tcp, "--config-file", "/does/not/exist"], 1, "/does/not/exist"),
        (&["fly", module], 2, "fly"),
    ] {
        let output = soon(program().arg("watm").args(args).output()).await.unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && why.contains(said), "{args:?}: {why}");
    }
    let wrong = config(&folder, "sideways");
    let server = echo().await;
    let dialer = Watm::start("dial", tcp, &server, &["--config-file", wrong.to_str().unwrap()]).await;
    assert!(matches!(soon(dialer.connect().await.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    let (_, log) = dialer.program.interrupt().await;
    assert!(log.contains("`_water_init` of the transport gave -28"), "{log}");
    let output = soon(program().args(["inspect", module]).output()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("a transport of WATM v0 that can dial, listen, relay"), "{said}");
    let output = soon(program().args(["run", module]).output()).await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("use `websocket-provider watm`"));
}
