//! Guests that misbehave, in the program: each ends with a message and an exit code of its own, within its
//! limits, and every connection it held is closed in order.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, close_payload, frame, soon};
use tests::{Behaviour, Server, faults::comes_true, interrupt, kernel::sockets, unruly};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// What the program printed and how it ended.
async fn end_of(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = soon(command.output()).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
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
        server.sees_1001(connections).await;
    }
}

#[tokio::test]
async fn a_guest_whose_output_nobody_reads_ends_as_well() {
    let mut server = Server::start(Behaviour::Silent).await;
    let mut child = unruly(&["--timeout", "500ms"], "print", &server.url).spawn().unwrap();
    // The output is open, but not read.
    let _stdout = child.stdout.take();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("raise --timeout"), "{output:?}");
    server.sees_1001(1).await;
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
        server.sees_1001(1).await;
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

/// Waits until the client's send buffer is full, so that its guest waits.
async fn is_full(peer: &Peer) {
    let client = peer.tcp.peer_addr().unwrap();
    let unsent = || sockets().iter().find(|socket| socket.local == client).unwrap().unsent;
    let mut last = 0;
    // The kernel enlarges its buffers while it can.
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
async fn a_second_ctrl_c_does_not_wait_for_any_peer() {
    let (mut child, peer) = deaf_peer(&["--close-timeout", "1h"], "flood").await;
    is_full(&peer).await;
    interrupt(&child).await;
    // Nothing more is sent on a closing connection, so the program waits only for the peer.
    assert!(timeout(Duration::from_millis(500), child.wait()).await.is_err(), "the first waits for the peer");
    interrupt(&child).await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130));
}

#[tokio::test]
async fn messages_arrive_before_the_close_however_the_guest_ends() {
    for (way, code, message) in
        [("return", 0, ""), ("leak", 0, ""), ("exit", 1, ""), ("trap", 1, "unreachable"), ("drop", 1, "--timeout")]
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
async fn a_peer_that_never_reads_delays_the_end_by_at_most_the_close_timeout() {
    for way in ["return", "trap"] {
        let begun = Instant::now();
        let (mut child, _peer) = deaf_peer(&["--close-timeout", "1s"], way).await;
        soon(child.wait()).await.unwrap();
        let took = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&took), "{way}: {took:?}");
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
    server.sees_1001(1).await;
}
