//! SIGINT, SIGTERM and SIGHUP: one outcome for all of them, and for every command.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::StreamExt;
use std::{
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use test_peer::{Authority, CLOSE, Peer, close_payload, read_head};
use tests::{Behaviour, Running, Server, guest_path, program, signal, skipped, soon, transport_path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::unbounded_channel,
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::{client_async, tungstenite::Message};

/// Names and numbers.
const SIGNALS: [(&str, i32); 3] = [("INT", 2), ("TERM", 15), ("HUP", 1)];

/// The signals that reach a child process: if this process ignores SIGHUP, the child does too.
fn signals() -> impl Iterator<Item = (&'static str, i32)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let ignored = u64::from_str_radix(mask, 16).unwrap();
    SIGNALS.into_iter().filter(move |(name, number)| {
        let reaches = ignored & 1 << (number - 1) == 0;
        if !reaches {
            skipped(&format!("SIG{name} is ignored here"));
        }
        reaches
    })
}

/// Long enough for a closing handshake, and shorter than any time limit of the program.
const PROMPT: Duration = Duration::from_secs(5);
const HANDSHAKE: &str = "GET /t HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A module of the pointer-payload ABI that sends every message back.
fn served(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("served.wasm");
    std::fs::write(&file, wat::parse_str(include_str!("../guests/echo-shipped.wat")).unwrap()).unwrap();
    file
}

/// A command that accepts WebSockets, and where: host and port.
struct Accepting {
    program: Running,
    at: String,
}

impl Accepting {
    async fn start(args: &[&str]) -> Accepting {
        let mut program = Running::start(args);
        let url = program.line("listening on ").await;
        let (_, rest) = url.split_once("://").unwrap();
        let at = rest.split('/').next().unwrap().to_owned();
        Accepting { program, at }
    }

    /// Every command that accepts WebSockets.
    async fn all(folder: &TempDir, tcp: &str) -> Vec<(&'static str, Accepting)> {
        let (served, transport) = (served(folder), transport_path("transport"));
        let (served, transport) = (served.to_str().unwrap(), transport.to_str().unwrap());
        let local = ["--local", "ws://127.0.0.1:0/t"];
        vec![
            ("echo", Accepting::start(&["echo"]).await),
            ("serve", Accepting::start(&["serve", "--listen", "127.0.0.1:0", served]).await),
            (
                "watm listen",
                Accepting::start(&[&["watm", "listen", transport, "--remote", tcp], &local[..]].concat()).await,
            ),
            (
                "watm relay",
                Accepting::start(&[&["watm", "relay", transport, "--remote", tcp], &local[..]].concat()).await,
            ),
        ]
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(&self.at).await.unwrap()
    }

    /// A task that waits for the code of the close frame.
    async fn close_code(&self) -> JoinHandle<u16> {
        let (mut socket, _) = soon(client_async(format!("ws://{}/t", self.at), self.tcp().await)).await.unwrap();
        tokio::spawn(async move {
            loop {
                match soon(socket.next()).await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        // The answer leaves with the next poll.
                        assert!(soon(socket.next()).await.is_none());
                        return frame.code.into();
                    }
                    Some(Ok(_)) => {}
                    other => panic!("no close frame came: {other:?}"),
                }
            }
        })
    }

    /// A client whose every byte the test decides.
    async fn raw(&self) -> TcpStream {
        let mut tcp = self.tcp().await;
        tcp.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let head = read_head(&mut tcp).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        tcp
    }
}

/// A server that accepts over TCP and says nothing.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            all.push(tcp);
        }
    });
    at
}

/// The code of the close frame that comes next from a server.
async fn read_close(tcp: &mut TcpStream) -> u16 {
    let mut frame = [0; 4];
    soon(tcp.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[..2], [CLOSE, 2], "a close frame comes");
    u16::from_be_bytes([frame[2], frame[3]])
}

/// A close frame as a client sends it.
fn masked_close(code: u16) -> Vec<u8> {
    [&[CLOSE, 0x82, 0, 0, 0, 0][..], &close_payload(code, "")].concat()
}

#[tokio::test]
async fn every_signal_stops_every_server_with_1001_and_exit_code_0() {
    let (folder, tcp) = (tempfile::tempdir().unwrap(), silent().await);
    for (name, _) in signals() {
        for (command, server) in Accepting::all(&folder, &tcp).await {
            let codes = [server.close_code().await, server.close_code().await];
            server.program.signal(name).await;
            for code in codes {
                assert_eq!(code.await.unwrap(), 1001, "{command}, SIG{name}");
            }
            let (status, log) = server.program.ended().await;
            assert!(status.code() == Some(0) && log.is_empty(), "{command}, SIG{name}: {status}: {log}");
        }
    }
}

#[tokio::test]
async fn every_signal_closes_the_websockets_that_transports_have_dialled_with_1001() {
    for (name, _) in signals() {
        for role in ["dial", "relay"] {
            let mut network = Server::start(Behaviour::Silent).await;
            let transport = transport_path("transport");
            let local = ["--local", "tcp://127.0.0.1:0", "--remote", &network.url];
            let args = [&["watm", role, transport.to_str().unwrap()], &local[..]].concat();
            let server = Accepting::start(&args).await;
            let mut caller = server.tcp().await;
            network.seen().await;
            server.program.signal(name).await;
            assert_eq!(network.close_code().await, Some(1001), "{role}, SIG{name}");
            assert_eq!(soon(caller.read(&mut [0])).await.unwrap(), 0, "the caller sees the end");
            let (status, log) = server.program.ended().await;
            assert!(status.code() == Some(0) && log.is_empty(), "{role}, SIG{name}: {status}: {log}");
        }
    }
}

#[tokio::test]
async fn every_signal_ends_a_guest_with_1001_and_its_number_and_128() {
    for (name, number) in signals() {
        let mut server = Server::start(Behaviour::Silent).await;
        let mut guest = program();
        guest.args(["run", "--allow", "localhost"]).arg(guest_path("ws-cat")).args(["--", &server.url]);
        let mut child = guest.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Standard input that stays open keeps the guest waiting.
        let _stdin = child.stdin.take();
        server.seen().await;
        signal(&child, name).await;
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(128 + number), "SIG{name}");
        assert_eq!(server.close_code().await, Some(1001), "SIG{name}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_every_command_at_once_with_its_number_and_128() {
    let (folder, tcp) = (tempfile::tempdir().unwrap(), silent().await);
    for (command, server) in Accepting::all(&folder, &tcp).await {
        // The peer does not answer the close frame, so the program waits.
        let mut client = server.raw().await;
        server.program.signal("TERM").await;
        assert_eq!(read_close(&mut client).await, 1001, "{command}");
        let asked = Instant::now();
        server.program.signal("INT").await;
        let (status, _) = server.program.ended().await;
        assert!(status.code() == Some(130) && asked.elapsed() < PROMPT, "{command}: {status}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut guest = program();
    guest.args(["run", "--allow", "127.0.0.1"]).arg(guest_path("ws-cat")).args(["--", &url]).stdin(Stdio::piped());
    let mut child = guest.spawn().unwrap();
    let _stdin = child.stdin.take();
    let mut peer = Peer::accept(&listener).await;
    peer.upgrade("").await;
    // The guest waits for input once it is connected.
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&child, "TERM").await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")));
    let asked = Instant::now();
    signal(&child, "INT").await;
    let status = soon(child.wait()).await.unwrap();
    assert!(status.code() == Some(130) && asked.elapsed() < PROMPT, "{status}");
}

#[tokio::test]
async fn a_command_that_has_nothing_open_is_killed_by_the_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (guest, output) = (folder.path().join("guest"), folder.path().join("output"));
    assert!(Command::new("mkfifo").arg(&guest).status().await.unwrap().success());
    let (guest, output) = (guest.to_str().unwrap(), output.to_str().unwrap());
    let ends = ["--local", "tcp://127.0.0.1:0", "--remote", "tcp://127.0.0.1:9"];
    for args in [
        vec!["inspect", guest],
        vec!["compile", guest, "-o", output],
        vec!["run", guest],
        vec!["serve", "--listen", "127.0.0.1:0", guest],
        [&["watm", "dial", guest], &ends[..]].concat(),
    ] {
        for (name, number) in signals() {
            let mut child = program().args(&args).spawn().unwrap();
            // The program waits for a guest from a pipe to which nobody writes.
            signal(&child, name).await;
            assert_eq!(soon(child.wait()).await.unwrap().signal(), Some(number), "{args:?}, SIG{name}");
        }
    }
}

#[tokio::test]
async fn a_program_that_was_started_to_outlive_its_terminal_ignores_sighup() {
    let mut echo = Running::start_in(&["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""], &["echo"]);
    let url = echo.line("listening on ").await;
    echo.signal("HUP").await;
    let tcp = TcpStream::connect(url.trim_start_matches("ws://").trim_end_matches('/')).await.unwrap();
    let (mut socket, _) = soon(client_async(&url, tcp)).await.unwrap();
    echo.signal("TERM").await;
    let Some(Ok(Message::Close(Some(frame)))) = soon(socket.next()).await else { panic!("a close frame comes") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(soon(socket.next()).await.is_none());
    assert_eq!(echo.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn every_client_that_was_upgraded_gets_1001_however_soon_the_signal_follows() {
    const CLIENTS: usize = 150;
    const BEFORE_THE_SIGNAL: usize = 10;
    let (folder, tcp) = (tempfile::tempdir().unwrap(), silent().await);
    for (command, server) in Accepting::all(&folder, &tcp).await {
        let mut clients = JoinSet::new();
        let (upgrades, mut upgraded) = unbounded_channel();
        for _ in 0..CLIENTS {
            let (at, upgrades) = (server.at.clone(), upgrades.clone());
            clients.spawn(async move {
                let Ok(mut tcp) = TcpStream::connect(at).await else { return None };
                // A client that comes too late is refused, or not answered.
                tcp.write_all(HANDSHAKE.as_bytes()).await.ok()?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await.ok()?);
                }
                if !head.starts_with(b"HTTP/1.1 101 ") {
                    return None;
                }
                upgrades.send(()).unwrap();
                let code = read_close(&mut tcp).await;
                tcp.write_all(&masked_close(code)).await.unwrap();
                assert_eq!(soon(tcp.read(&mut [0])).await.unwrap(), 0);
                Some(code)
            });
        }
        for _ in 0..BEFORE_THE_SIGNAL {
            soon(upgraded.recv()).await.unwrap();
        }
        server.program.signal("TERM").await;
        let codes: Vec<_> = soon(clients.join_all()).await.into_iter().flatten().collect();
        assert!(codes.iter().all(|code| *code == 1001), "{command}: {codes:?}");
        let (status, log) = server.program.ended().await;
        assert!(status.success(), "{command}: {status}: {log}");
        println!("{command}: {} of {CLIENTS} were upgraded", codes.len());
    }
}

#[tokio::test]
async fn a_client_that_has_answered_the_close_and_keeps_tcp_open_delays_nothing() {
    let (folder, tcp) = (tempfile::tempdir().unwrap(), silent().await);
    for (command, server) in Accepting::all(&folder, &tcp).await {
        let mut client = server.raw().await;
        let asked = Instant::now();
        server.program.signal("TERM").await;
        assert_eq!(read_close(&mut client).await, 1001, "{command}");
        client.write_all(&masked_close(1001)).await.unwrap();
        assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0, "the server ends TCP first");
        let (status, log) = server.program.ended().await;
        assert!(status.success() && log.is_empty(), "{command}: {status}: {log}");
        assert!(asked.elapsed() < PROMPT, "{command} took {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_client_without_a_request_delays_nothing() {
    let (folder, tcp) = (tempfile::tempdir().unwrap(), silent().await);
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let served = served(&folder);
    let tls = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let secure = Accepting::start(&[&tls[..], &[served.to_str().unwrap()]].concat()).await;
    let servers = Accepting::all(&folder, &tcp).await.into_iter().chain([("serve with TLS", secure)]);
    for (command, server) in servers {
        // The client sends nothing, has begun a request or a TLS handshake, or has received its response.
        let (_nothing, mut begins) = (server.tcp().await, server.tcp().await);
        begins.write_all(b"GET / HT").await.unwrap();
        let mut answered = server.tcp().await;
        answered.write_all(b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        if command != "serve with TLS" {
            read_head(&mut answered).await;
        }
        let asked = Instant::now();
        let (status, log) = server.program.interrupt().await;
        assert!(status.success() && log.is_empty(), "{command}: {status}: {log}");
        assert!(asked.elapsed() < PROMPT, "{command} took {:?}", asked.elapsed());
    }
}
