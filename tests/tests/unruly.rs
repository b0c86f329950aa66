//! Guests that misbehave, in the program: each ends with a message and an exit code of its own, within its
//! limits, and every connection it held is closed in order.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::{Output, Stdio};
use test_peer::soon;
use tests::{Behaviour, Server, guest_path, program};
use tokio::process::Command;

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
