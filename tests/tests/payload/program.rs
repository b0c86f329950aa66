//! The program around a module: `inspect`, TLS, output, persistent stores, and stopping.

use super::*;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use test_peer::Authority;
use tests::{
    Serving,
    probe::{self, Config, Probe},
    program,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

async fn says(command: &str, module: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, wat::parse_str(module).unwrap()).unwrap();
    let output = soon(program().arg(command).arg(&file).output()).await.unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn inspect_names_abi_dialect_and_exports_and_run_says_use_serve() {
    for (module, form) in [
        (guest(&[]), "shipped dialect, newer generation, requests and sockets"),
        (
            include_str!("../../guests/echo-proposal.wat").to_owned(),
            "proposal dialect, newer generation, sockets alone",
        ),
    ] {
        let (code, said) = says("inspect", &module).await;
        assert_eq!(code, Some(0), "{said}");
        for part in [&format!("pointer-payload ABI, {form}"), "  websocketMessage\n", "websocket-provider serve"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let (code, said) = says("run", &module).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("use `websocket-provider serve "), "{said}");
    }
    let (_, said) = says("inspect", &guest(&[]).replace("\"memory\"", "\"mem\"")).await;
    assert!(said.contains("no command") && said.contains("`memory`"), "{said}");
    let (_, said) = says("inspect", "(module)").await;
    assert!(said.contains("nothing in it to run") && !said.contains("wasm-tools"), "{said}");
    let (_, said) = says("inspect", r#"(module (func (export "f")))"#).await;
    assert!(said.contains("wasm-tools component new"), "{said}");
}

#[tokio::test]
async fn tls_is_served_to_guests_and_requests() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let ca = authority.file("ca.pem");
    let serving = Serving::start(guest(&[]), &["--tls-cert", &certificate, "--tls-key", &key]).await;
    let (_, port) = serving.address.split_once(':').unwrap();
    let mut client = Probe::start(&["--ca-cert", &ca]);
    let url = format!("wss://localhost:{port}/");
    let open = client.connect(Config { url, ..Config::default() }).await.unwrap();
    let message = probe::Message::Binary(vec![7; 1 << 20]);
    client.send(open, message.clone()).await.unwrap();
    assert_eq!(client.receive(open).await, Ok(message));
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.is_empty(), "{status}: {log}");
    assert_eq!(client.receive(open).await, Ok(probe::Message::Close(1001, None)));

    // The session cookie is sent back only over TLS.
    let begin = "(call $send (i32.const 3000) (i32.const 6)) (call $new)
        (call $send (i32.const 3100) (i32.const 10))";
    let more = r#"(import "primate" "sessionNew" (func $new))
        (data (i32.const 3000) "\02\00\00\00[]") (data (i32.const 3100) "\01\00\00\00\02\00\00\00[]")"#;
    let module = guest_with(more, &[("sendResponse", begin)]);
    let serving = Serving::start(module, &["--tls-cert", &certificate, "--tls-key", &key]).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let tcp = TcpStream::connect(&serving.address).await.unwrap();
    let mut tls = soon(connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(tls.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("; Secure"), "{answer}");
}

#[tokio::test]
async fn the_output_of_a_guest_is_printed() {
    let more = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 3000) "\10\0c\00\00\06\00\00\00") (data (i32.const 3088) "hello\n")"#;
    let print = "(drop (call $write (i32.const 2) (i32.const 3000) (i32.const 1) (i32.const 3200)))";
    let serving = Serving::start(guest_with(more, &[("start", print)]), &["--instances", "2"]).await;
    let (status, said) = serving.interrupt().await;
    assert!(status.success());
    assert_eq!(said, "hello\nhello\n");
}

/// A guest whose every request makes these calls and is answered with what the last one gives, which is a string.
fn storing(calls: &str) -> String {
    let more = r#"(import "primate" "storeImport" (func $import (result i32)))
        (import "primate" "storeInsert" (func $insert (param i32) (result i32)))
        (import "primate" "storeFind" (func $find (param i32) (result i32)))
        (import "primate" "storeGet" (func $get (param i32) (result i32)))
        (import "primate" "storeHas" (func $has (param i32) (result i32)))
        (data (i32.const 3000) "\06\00\00\00things") (data (i32.const 3100) "\02\00\00\00{}")
        (data (i32.const 3200) "\07\00\00\00{\"a\":1}") (data (i32.const 3300) "\00\00\00\00")
        (func $ask (param $from i32) (param $length i32) (call $send (local.get $from) (local.get $length)))"#;
    let send = format!(
        "{calls} (i32.store (i32.const 2000) (i32.const 1)) (call $receive (i32.const 2004) (call $length))
         (call $send (i32.const 2000) (i32.add (call $length) (i32.const 4)))"
    );
    guest_with(more, &[("sendResponse", &send)])
}

#[tokio::test]
async fn stores_last_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stores");
    let store = ["--store", file.to_str().unwrap()];
    let module = storing(
        "(call $ask (i32.const 3000) (i32.const 10)) (if (call $import) (then unreachable))
         (call $ask (i32.const 3200) (i32.const 11)) (if (call $insert (i32.const 0)) (then unreachable))
         (call $ask (i32.const 3100) (i32.const 6)) (if (call $find (i32.const 0)) (then unreachable))",
    );
    for count in 1..=3 {
        let serving = Serving::start(&module, &store).await;
        let answered = serving.ask("GET", "/", "", "").await;
        assert_eq!(answered.text().matches("\"a\":1").count(), count, "{answered:?}");
        let second = soon(program().args(["serve", "--listen", "127.0.0.1:0"]).args(store).arg(&file).output()).await;
        assert!(!second.unwrap().status.success(), "a store is open once");
        let (status, log) = serving.interrupt().await;
        assert!(status.success() && log.is_empty(), "{status}: {log}");
    }
}

#[tokio::test]
async fn the_statuses_of_stores_are_those_of_the_abi() {
    // Each status is a digit of the answer.
    let digit = |at: u32, call: &str| format!("(i32.store8 (i32.const {}) (i32.add (i32.const 48) {call}))", 2009 + at);
    let calls = [
        "(call $ask (i32.const 3100) (i32.const 6))".to_owned(),
        digit(0, "(call $find (i32.const 0))"),
        "(call $ask (i32.const 3300) (i32.const 4))".to_owned(),
        digit(1, "(call $import)"),
        "(call $ask (i32.const 3000) (i32.const 10))".to_owned(),
        digit(2, "(call $import)"),
        digit(3, "(call $get (i32.const 0))"),
        digit(4, "(call $insert (i32.const 0))"),
        digit(5, "(call $has (i32.const 1))"),
        digit(6, "(call $has (i32.const -1))"),
        // A JSON string of seven digits.
        r#"(i32.store (i32.const 2000) (i32.const 1)) (i32.store (i32.const 2004) (i32.const 9))
           (i32.store8 (i32.const 2008) (i32.const 34)) (i32.store8 (i32.const 2016) (i32.const 34))
           (call $send (i32.const 2000) (i32.const 17)) (return)"#
            .to_owned(),
    ];
    let serving = Serving::start(storing(&calls.concat()), &[]).await;
    let answered = serving.ask("GET", "/", "", "").await;
    assert_eq!(answered.text(), "\"1402411\"", "{answered:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_server_whose_guest_computes_for_ever() {
    let spin = guest(&[("websocketMessage", "(loop (br 0))")]);
    let serving = Serving::start(spin, &["--callback-timeout", "1s", "--close-timeout", "1s"]).await;
    let mut client = serving.dial().await;
    soon(client.send(text("spin"))).await.unwrap();
    let asked = Instant::now();
    let (status, _) = serving.interrupt().await;
    assert!(status.success() && asked.elapsed() < Duration::from_secs(5), "{status} after {:?}", asked.elapsed());
    assert!([1001, 1011].contains(&close_code(&mut client).await));
}

#[tokio::test]
async fn ctrl_c_lets_a_request_end_that_has_begun() {
    let more = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 3000) "\10\0c\00\00\06\00\00\00") (data (i32.const 3088) "begun\n")"#;
    let nap = "(drop (call $write (i32.const 1) (i32.const 3000) (i32.const 1) (i32.const 3200)))
        (drop (call $now (i32.const 1) (i64.const 0) (i32.const 8)))
        (loop
            (drop (call $now (i32.const 1) (i64.const 0) (i32.const 16)))
            (br_if 0 (i64.lt_u (i64.sub (i64.load (i32.const 16)) (i64.load (i32.const 8))) (i64.const 700000000))))
        (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 2))
        (i32.store16 (i32.const 8) (i32.const 0x5d5b)) (call $send (i32.const 0) (i32.const 10))";
    let mut serving = Serving::start(guest_with(more, &[("sendResponse", nap)]), &[]).await;
    let mut tcp = TcpStream::connect(&serving.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    serving.prints("begun").await;
    let (status, _) = serving.interrupt().await;
    assert!(status.success(), "{status}");
    let mut answer = String::new();
    soon(tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("[]"), "{answer}");
}
