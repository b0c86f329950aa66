//! A guest that opens ten thousand connections and keeps them. This test is alone in its process, which has the other
//! ends.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::Stdio;
use test_peer::soon;
use tests::{Behaviour, Server, kernel::open_files, skipped, unruly};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Lets a guest open up to ten thousand connections; returns how many it got, how it ended, and its output.
async fn hoard(options: &[&str]) -> (usize, Option<i32>, String) {
    let mut server = Server::start(Behaviour::Silent).await;
    let mut child = unruly(options, "hoard", &server.url).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(lines.next_line()).await.unwrap().unwrap();
    let held = line.strip_prefix("holds ").unwrap().parse().unwrap();
    // The guest ends when its input ends.
    drop(child.stdin.take());
    server.sees_1001(held).await;
    let said = soon(lines.next_line()).await.unwrap().unwrap_or_default();
    (held, soon(child.wait()).await.unwrap().code(), said)
}

#[tokio::test]
async fn a_guest_that_hoards_connections_gets_no_more_than_its_limit() {
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
