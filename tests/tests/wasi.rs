//! The versions of WASI that `run` supports: every release of 0.2, and 0.3 with its concurrent calls.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{fs, process::Stdio};
use test_peer::{CLOSE, Peer, TEXT, close_payload, frame};
use tests::{component_with, guest_path, interrupt, program, run, soon};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout},
};

#[tokio::test]
async fn guests_of_every_published_minor_of_wasi_0_2_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    for minor in 0..=12 {
        let imports = [("io/poll", "pollable"), ("filesystem/types", "descriptor"), ("http/types", "fields")];
        let mut imports = imports.map(|(interface, resource)| {
            format!(r#"(import "wasi:{interface}@0.2.{minor}" (instance (export "{resource}" (type (sub resource)))))"#)
        });
        imports[0] += &format!(
            r#"(import "wasi:random/random@0.2.{minor}" (instance (export "get-random-u64" (func (result u64)))))"#
        );
        fs::write(&path, component_with(&imports.concat(), &["a"], "i32.const 0")).unwrap();
        let output = run(&[], &path).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "0.2.{minor}: {output:?}");
    }
}

/// The guest `concurrent` with two open connections, what it says, and the peers.
async fn concurrent() -> (Child, Lines<BufReader<ChildStdout>>, [Peer; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut command = program();
    command.args(["run", "--allow", "localhost", "--receive-wait", "20ms"]).arg(guest_path("concurrent"));
    let mut guest = command.args(["--", &url, &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(guest.stdout.take().unwrap()).lines();
    let mut open = async |line: &str| {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        assert_eq!(soon(said.next_line()).await.unwrap().as_deref(), Some(line));
        peer
    };
    let peers = [open("0 is open").await, open("1 is open").await];
    (guest, said, peers)
}

async fn sees_1001(mut peer: Peer) {
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1001, "")));
    peer.write(frame(CLOSE, close_payload(1001, ""))).await;
}

#[tokio::test]
async fn a_guest_of_wasi_0_3_receives_from_two_connections_at_once_and_leaves_them_to_the_host() {
    let (mut guest, mut said, mut peers) = concurrent().await;
    // The order in which they opened is not the one in which something comes.
    for number in [1, 0] {
        peers[number].write(frame(TEXT, "now")).await;
        let line = format!("{number} received Message::Text(\"now\")");
        assert_eq!(soon(said.next_line()).await.unwrap(), Some(line));
    }
    for peer in peers {
        sees_1001(peer).await;
    }
    assert!(soon(guest.wait()).await.unwrap().success());
}

#[tokio::test]
async fn ctrl_c_ends_a_guest_of_wasi_0_3_with_a_clean_close() {
    let (mut guest, _said, peers) = concurrent().await;
    interrupt(&guest).await;
    for peer in peers {
        sees_1001(peer).await;
    }
    assert_eq!(soon(guest.wait()).await.unwrap().code(), Some(130));
}
