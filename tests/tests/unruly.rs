//! Guests that misbehave, in the program: each ends with a message and an exit code of its own, within its
//! limits, and every connection it held is closed in order.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, close_payload, frame, soon};
use tests::{
    Behaviour, Server,
    faults::comes_true,
    guest_path, interrupt,
    kernel::{open_files, sockets},
    program, skipped,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// `run` with these options and the guest `unruly`, on its way to this URL.
fn unruly(options: &[&str], way: &str, url: &str) -> Command {
    let mut command = program();
    command.args(["run", "--allow", "localhost"]).args(options).arg(guest_path("unruly")).args(["--", way, url]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program printed and how it ended.
async fn end_of(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = soon(command.output()).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Asserts that so many connections end with the close frame of those who go away.
async fn see_1001(server: &mut Server, connections: usize) {
    for _ in 0..connections {
        assert_eq!(server.close_code().await, Some(1001));
    }
}

#[tokio::test]
async fn each_way_ends_with_its_message_and_a_clean_close() {
    let cases: [(&str, &[&str], usize, &str); 8] = [
        ("loop", &["--timeout", "500ms"], 1, "did not end within 500ms; raise --timeout"),
        ("receive", &["--timeout", "500ms"], 1, "did not end within 500ms; raise --timeout"),
        ("flood", &["--timeout", "500ms"], 1, "did not end within 500ms; raise --timeout"),
        ("memory", &["--memory-limit", "64MiB"], 1, "needs more memory than 64.0 MiB; raise --memory-limit"),
        ("panic", &[], 2, "trapped: wasm trap: wasm `unreachable` instruction executed"),
        ("recurse", &[], 1, "trapped: wasm trap: call stack exhausted"),
        ("random", &[], 1, "failed: requested len 1099511627776 exceeds limit"),
        ("timers", &[], 1, "failed: cannot allocate another handle"),
    ];
    for (way, options, connections, message) in cases {
        let mut server = Server::start(Behaviour::Silent).await;
        let (code, stdout, stderr) = end_of(&mut unruly(options, way, &server.url)).await;
        assert_eq!((code, &stdout[..]), (Some(1), "open\n"), "{way}: {stderr}");
        assert!(stderr.contains(message), "{way}: {stderr}");
        see_1001(&mut server, connections).await;
    }
}

#[tokio::test]
async fn a_guest_whose_output_nobody_reads_ends_as_well() {
    let mut server = Server::start(Behaviour::Silent).await;
    let mut child = unruly(&["--timeout", "500ms"], "print", &server.url).spawn().unwrap();
    // Open, and not read from.
    let _stdout = child.stdout.take();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("raise --timeout"), "{output:?}");
    see_1001(&mut server, 1).await;
}

/// Starts a guest and waits until its connection is open.
async fn start(options: &[&str], way: &str, url: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = unruly(options, way, url).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().as_deref(), Some("open"));
    (child, lines)
}

#[tokio::test]
async fn ctrl_c_ends_any_guest_with_a_clean_close() {
    for way in ["loop", "receive", "flood", "print", "complain"] {
        let mut server = Server::start(Behaviour::Silent).await;
        // Both outputs stay open, and nobody reads them.
        let (mut child, _stdout) = start(&[], way, &server.url).await;
        interrupt(&child).await;
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130), "{way}");
        see_1001(&mut server, 1).await;
    }
}

#[tokio::test]
async fn one_processor_is_enough_for_a_guest_that_computes_and_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let run = unruly(&[], "loop", &format!("ws://{}/", listener.local_addr().unwrap()));
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", "0"]).arg(run.as_std().get_program()).args(run.as_std().get_args());
    let mut child = pinned.kill_on_drop(true).stdout(Stdio::piped()).spawn().unwrap();
    let mut peer = Peer::accept(&listener).await;
    peer.upgrade("").await;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().as_deref(), Some("open"));
    let begun = Instant::now();
    for _ in 0..5 {
        peer.write(frame(PING, "there?")).await;
        assert_eq!(peer.frame().await, (PONG, b"there?".to_vec()));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "five pings are answered while the guest computes, not in {took:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_guest_that_dials_a_server_which_stalls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = unruly(&[], "loop", &format!("ws://{}/", listener.local_addr().unwrap())).spawn().unwrap();
    let mut peer = Peer::accept(&listener).await;
    interrupt(&child).await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130));
    peer.end().await;
}

/// A peer that has answered the handshake and reads nothing, and the guest that sends to it.
async fn deaf_peer(options: &[&str], way: &str) -> (Child, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let child = unruly(options, way, &format!("ws://{}/", listener.local_addr().unwrap())).spawn().unwrap();
    let mut peer = Peer::accept(&listener).await;
    peer.upgrade("").await;
    (child, peer)
}

/// Waits until the client has no room to send, and so its guest waits.
async fn is_full(peer: &Peer) {
    let client = peer.tcp.peer_addr().unwrap();
    let unsent = || sockets().iter().find(|socket| socket.local == client).unwrap().unsent;
    let mut last = 0;
    // What the kernel takes grows while it can.
    comes_true("the connection is full", || {
        let (now, before) = (unsent(), last);
        last = now;
        now > 64 * 1024 && now == before
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_a_guest_that_waits_to_send() {
    let (mut child, mut peer) = deaf_peer(&[], "flood").await;
    is_full(&peer).await;
    interrupt(&child).await;
    // The peer reads on after all: whole messages, and the close frame behind them.
    loop {
        match peer.frame().await {
            (BINARY, data) => assert_eq!(data.len(), 100_000),
            other => break assert_eq!(other, (CLOSE, close_payload(1001, ""))),
        }
    }
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
    peer.tcp.shutdown().await.unwrap();
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130));
    peer.end().await;
}

#[tokio::test]
async fn a_second_ctrl_c_waits_for_no_peer() {
    let (mut child, peer) = deaf_peer(&["--close-timeout", "1h"], "flood").await;
    is_full(&peer).await;
    interrupt(&child).await;
    // What closes is not sent to any more, so that only the peer is waited for.
    assert!(timeout(Duration::from_millis(500), child.wait()).await.is_err(), "the first waits for the peer");
    interrupt(&child).await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130));
}

#[tokio::test]
async fn what_was_sent_arrives_before_the_close_however_the_guest_ends() {
    for (way, code, message) in
        [("return", 0, ""), ("exit", 1, ""), ("trap", 1, "unreachable"), ("drop", 1, "--timeout")]
    {
        let (child, mut peer) = deaf_peer(&["--timeout", "1s"], way).await;
        let output = tokio::spawn(child.wait_with_output());
        assert_eq!(peer.frame().await, (BINARY, vec![0; 8 << 20]), "{way}");
        assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")), "{way}");
        peer.write(frame(CLOSE, close_payload(1001, ""))).await;
        peer.tcp.shutdown().await.unwrap();
        let output = soon(output).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(code), "{way}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{way}: {output:?}");
    }
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_the_program_up_for_the_close_timeout_and_no_longer() {
    for way in ["return", "trap"] {
        let begun = Instant::now();
        let (mut child, _peer) = deaf_peer(&["--close-timeout", "1s"], way).await;
        soon(child.wait()).await.unwrap();
        let took = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "{way}: {took:?}");
    }
}

#[tokio::test]
async fn strings_of_many_mib_are_refused_without_repeating_them() {
    let mut server = Server::start(Behaviour::Silent).await;
    let (code, stdout, stderr) = end_of(&mut unruly(&[], "strings", &server.url)).await;
    assert_eq!(code, Some(0), "{stderr}");
    let (mut told, mut refused) = (0, 0);
    for line in stdout.lines() {
        told += 1;
        refused += usize::from(line.contains("Err(WebsocketError::"));
        assert!(line.len() < 300, "{line}");
    }
    assert_eq!((told, refused), (20, 20), "{stdout}");
    assert!(stderr.len() < 1000, "the log repeats them");
    see_1001(&mut server, 1).await;
}

/// Has a guest open ten thousand connections or as many as it gets; gives how many, how it ended, and what it said.
async fn hoard(options: &[&str]) -> (usize, Option<i32>, String) {
    let mut server = Server::start(Behaviour::Silent).await;
    let mut child = unruly(options, "hoard", &server.url).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(lines.next_line()).await.unwrap().unwrap();
    let held = line.strip_prefix("holds ").unwrap().parse().unwrap();
    // The end of its input ends it.
    drop(child.stdin.take());
    see_1001(&mut server, held).await;
    let said = soon(lines.next_line()).await.unwrap().unwrap_or_default();
    (held, soon(child.wait()).await.unwrap().code(), said)
}

#[tokio::test]
async fn a_guest_that_hoards_connections_gets_as_many_as_it_may() {
    let (held, code, said) = hoard(&[]).await;
    assert_eq!((held, code), (1024, Some(1)));
    assert!(said.contains("ConnectionFailed") && said.contains("`max-connections`"), "{said}");
    // The test has one end of each, the program the other.
    let most = open_files() - 1000;
    if most < 10_000 {
        skipped(&format!("ten thousand connections, since a process may have {} files open", open_files()));
    }
    let most = most.min(10_000).to_string();
    let (held, code, said) = hoard(&["--max-connections", &most, "--max-connections-total", &most]).await;
    assert_eq!(held.to_string(), most);
    assert_eq!((code, said.is_empty()), if held < 10_000 { (Some(1), false) } else { (Some(0), true) });
}
