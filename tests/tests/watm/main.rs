//! WATM transports in the program: every role, over TCP and over WebSockets, and their failures.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod cancel;
mod ends;
mod faults;
mod idle;
mod load;
mod refusals;
mod resets;
mod roles;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use test_peer::Authority;
use tests::{Running, kernel, program, soon, transport_path};
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
    /// The test guest `transport`.
    async fn start(role: &str, local: &str, remote: &str, options: &[&str]) -> Watm {
        Watm::start_with(&transport_path("transport"), role, local, remote, options).await
    }

    async fn start_with(module: &Path, role: &str, local: &str, remote: &str, options: &[&str]) -> Watm {
        let module = module.to_str().unwrap();
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

/// The kind of network between transports.
struct Network {
    /// Where to listen on it.
    at: &'static str,
    /// The options of the listening side, and of the dialling side.
    accepting: Vec<String>,
    dialling: Vec<String>,
    _certificates: Option<Authority>,
}

impl Network {
    fn of(at: &'static str) -> Network {
        Network { at, accepting: vec![], dialling: vec![], _certificates: None }
    }

    /// TCP, WebSockets, and WebSockets over TLS.
    fn all() -> [Network; 3] {
        let authority = Authority::new("test");
        let (certificate, key) = authority.issue_files("localhost");
        let secure = Network {
            at: "wss://127.0.0.1:0/t",
            accepting: ["--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned).into(),
            dialling: ["--ca-cert", &authority.file("ca.pem")].map(str::to_owned).into(),
            _certificates: Some(authority),
        };
        [Network::of("tcp://127.0.0.1:0"), Network::of("ws://127.0.0.1:0/t"), secure]
    }
}

/// Caller, dialer, network, relay, network, listener, server: one transport in every role.
struct Chain([Watm; 3]);

impl Chain {
    /// The dialer and the listener get the one options as well, and the relay the others.
    async fn start(module: &Path, network: &Network, server: &str, ends: &[&str], middle: &[&str]) -> Chain {
        let accepting: Vec<&str> = network.accepting.iter().map(String::as_str).collect();
        let dialling: Vec<&str> = network.dialling.iter().map(String::as_str).collect();
        let on = |watm: &Watm| watm.at.replace("127.0.0.1", "localhost");
        let listens = [&accepting[..], ends].concat();
        let listener = Watm::start_with(module, "listen", network.at, server, &listens).await;
        let relays = [&accepting[..], &dialling, middle].concat();
        let relay = Watm::start_with(module, "relay", network.at, &on(&listener), &relays).await;
        let dials = [&dialling[..], ends].concat();
        let dialer = Watm::start_with(module, "dial", "tcp://127.0.0.1:0", &on(&relay), &dials).await;
        Chain([dialer, relay, listener])
    }

    async fn connect(&self) -> TcpStream {
        self.0[0].connect().await
    }

    async fn end(self) {
        for program in self.0 {
            program.end().await;
        }
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

/// A server's socket, and where it is.
async fn far() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, at)
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

/// All that comes until the end.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    soon(tcp.read_to_end(&mut rest)).await.unwrap();
    rest
}

fn config(folder: &TempDir, content: &str) -> PathBuf {
    let path = folder.path().join("config");
    std::fs::write(&path, content).unwrap();
    path
}

/// A transport that dials as it should, and whose worker sends the caller a byte and then does this.
fn transport(folder: &TempDir, worker: &str) -> PathBuf {
    let text = format!(
        r#"(module
            (import "env" "host_dial" (func $dial (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\20\00\00\00\01\00\00\00")
            (func (export "_water_v0"))
            (func (export "_water_init") (result i32) (i32.const 0))
            (func (export "_water_dial") (param i32) (result i32) (call $dial))
            (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
            (func (export "_water_worker") (result i32)
                (if (call $write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
                {worker}))"#
    );
    let file = folder.path().join("transport.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    file
}
