//! `websocket-provider run` with real guests, against a third-party server.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use serde_json::{Value, json};
use std::process::{Output, Stdio};
use test_peer::Authority;
use tests::{
    Behaviour, Running, Seen, Server, component_with, guest, guest_path, has_usage, interrupt, program, run, soon,
};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

/// The output of the example guest with a server that behaves like this.
async fn example(behaviour: Behaviour) -> String {
    let server = Server::start(behaviour).await;
    let url = format!("WS_URL={}", server.url);
    let options = ["--allow", "localhost", "--receive-wait", "300ms", "--env", &url];
    let output = run(&options, &guest_path("guest_example")).await;
    assert!(output.status.success(), "{output:?}");
    stdout(&output).to_owned()
}

#[tokio::test]
async fn the_example_guest_talks_over_ws_with_its_settings() {
    let mut server = Server::start(Behaviour::Echo).await;
    let url = format!("WS_URL={}", server.url);
    let output = run(&["--allow", "localhost", "--env", &url], &guest_path("guest_example")).await;
    assert_eq!(stdout(&output), "SUCCESS: Received response: Hello, WebSocket!", "{output:?}");
    let Seen::Opened(fields) = server.seen().await else { panic!("a handshake comes first") };
    for field in [("user-agent", "wasmCloud-Component/1.0"), ("sec-websocket-protocol", "chat")] {
        assert!(fields.contains(&(field.0.to_owned(), field.1.to_owned())), "{fields:?}");
    }
    assert!(matches!(server.seen().await, Seen::Message(Message::Text(text)) if text == "Hello, WebSocket!"));
    assert_eq!(server.close_code().await, Some(1001), "a guest that drops its connection goes away");
}

#[tokio::test]
async fn the_example_guest_talks_over_wss() {
    let authority = Authority::new("test");
    let tls = authority.acceptor(authority.issue(&["localhost"], |_| {}), false);
    let server = Server::start_tls(Behaviour::Echo, tls).await;
    let url = format!("WS_URL={}", server.url);
    let trust = ["--allow", "localhost", "--env", &url, "--ca-cert", &authority.file("ca.pem")];
    let output = run(&trust, &guest_path("guest_example")).await;
    assert_eq!(stdout(&output), "SUCCESS: Received response: Hello, WebSocket!", "{output:?}");
    let output = run(&trust[..4], &guest_path("guest_example")).await;
    assert!(
        stdout(&output).contains("ConnectionFailed") && stdout(&output).contains("no authority that this host trusts"),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_example_guest_tells_every_outcome() {
    let binary = Behaviour::Answer(Message::Binary("bytes".into()));
    assert_eq!(example(binary).await, "SUCCESS: Received non-text message");
    assert_eq!(example(Behaviour::Silent).await, "SUCCESS: No message received");
    assert!(example(Behaviour::Drop).await.starts_with("ERROR: Failed to receive message: WebsocketError::IoError("));
    let close = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    assert_eq!(example(Behaviour::Answer(Message::Close(Some(close)))).await, "SUCCESS: Received non-text message");
    let output = run(&["--env", "WS_URL=http://localhost/"], &guest_path("guest_example")).await;
    assert!(stdout(&output).starts_with("ERROR: Failed to connect: WebsocketError::InvalidUrl("), "{output:?}");
}

#[tokio::test]
async fn without_a_rule_nothing_is_dialled() {
    let server = Server::start(Behaviour::Echo).await;
    let url = format!("WS_URL={}", server.url);
    for options in [&["--env", &url][..], &["--allow", "*", "--env", &url]] {
        let output = run(options, &guest_path("guest_example")).await;
        assert!(stdout(&output).contains("AuthenticationFailed") && stdout(&output).contains("`allow`"), "{output:?}");
    }
}

#[tokio::test]
async fn a_guest_of_the_next_draft_links_as_well() {
    let server = Server::start(Behaviour::Echo).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("next.wasm");
    std::fs::write(&path, with_version(b"0.1.1-draft")).unwrap();
    let url = format!("WS_URL={}", server.url);
    let output = run(&["--allow", "localhost", "--env", &url], &path).await;
    assert_eq!(stdout(&output), "SUCCESS: Received response: Hello, WebSocket!", "{output:?}");
    std::fs::write(&path, with_version(b"0.2.0-draft")).unwrap();
    let output = run(&[], &path).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("@0.2.0-draft") && errors.contains("0.1.0-draft and 0.1.1-draft"), "{errors}");
}

/// The example guest, with another version of the interface in its imports.
fn with_version(version: &[u8; 11]) -> Vec<u8> {
    let mut bytes = guest("guest_example");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(11).position(|window| window == b"0.1.0-draft") {
        at += found;
        bytes[at..at + 11].copy_from_slice(version);
    }
    assert!(at > 0, "the guest imports 0.1.0-draft");
    bytes
}

#[tokio::test]
async fn a_command_has_its_arguments_input_output_and_exit_code() {
    let mut server = Server::start(Behaviour::Echo).await;
    let mut child = program()
        .args(["run", "--allow", "localhost", "--receive-wait", "300ms"])
        .arg(guest_path("ws-cat"))
        .args(["--", &server.url, "log"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all("one\ntwo\nthree, in \u{fc}ber 1 line".as_bytes()).await.unwrap();
    drop(stdin);
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(stdout(&output), "one\ntwo\nthree, in \u{fc}ber 1 line");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.close_code().await, Some(1000));

    let output = run(&["--timeout", "20s"], &guest_path("ws-cat")).await;
    assert_eq!(output.status.code(), Some(2), "the guest's own exit code");
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage: ws-cat URL"));
}

#[tokio::test]
async fn a_guest_that_is_a_command_answers_help_and_wrong_usage() {
    has_usage(&guest_path("ws-cat"), &[&[], &["--helf"], &["ws://localhost:1/", "-v"]]).await;
    has_usage(&guest_path("hello-rust"), &[&[], &["--helf"], &["ws://localhost:1/"]]).await;
    let url = "ws://localhost:1/";
    has_usage(
        &guest_path("follower"),
        &[&[], &["--helf"], &[url], &[url, "EURUSD", "x"], &[url, "EURUSD", "1", "more"]],
    )
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_a_guest_with_a_clean_close() {
    let mut server = Server::start(Behaviour::Silent).await;
    let cat = guest_path("ws-cat");
    let mut guest = program();
    guest.args(["run", "--allow", "localhost"]).arg(&cat).args(["--", &server.url]).stdin(Stdio::piped());
    let mut child = guest.stderr(Stdio::piped()).spawn().unwrap();
    // Standard input that stays open keeps the guest waiting.
    let _stdin = child.stdin.take();
    assert!(matches!(server.seen().await, Seen::Opened(_)));
    interrupt(&child).await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(130));
    assert_eq!(server.close_code().await, Some(1001));
}

#[tokio::test]
async fn logs_go_to_standard_error_in_the_form_that_is_asked_for() {
    let server = Server::start(Behaviour::Echo).await;
    let url = format!("WS_URL={}?secret", server.url.replace("ws://", "ws://me:secret@"));
    let log = async |form: &str| {
        let mut command = program();
        command.args(["run", "--log-format", form, "--allow", "localhost", "--env", &url]).env("RUST_LOG", "debug");
        let output = soon(command.arg(guest_path("guest_example")).output()).await.unwrap();
        assert_eq!(stdout(&output), "SUCCESS: Received response: Hello, WebSocket!");
        String::from_utf8(output.stderr).unwrap()
    };
    let (json, text) = (log("json").await, log("text").await);
    assert!(!json.contains("secret") && !text.contains("secret"), "neither credentials nor queries: {json}{text}");
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let closed = lines.iter().find(|line| line["fields"]["message"] == "closed").unwrap();
    let destination = server.url.trim_end_matches('/');
    assert_eq!((&closed["fields"]["bytes_sent"], &closed["fields"]["code_sent"]), (&json!(17), &json!(1001)));
    assert_eq!((&closed["span"]["destination"], &closed["spans"][0]), (&json!(destination), &closed["span"]));
    assert!(text.contains(&format!("destination=\"{destination}\"")), "no colours where nobody sees them: {text}");
}

#[tokio::test]
async fn a_configuration_file_has_the_settings_by_the_names_of_their_flags() {
    let server = Server::start(Behaviour::Silent).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("provider.toml");
    std::fs::write(&file, "allow = [\"localhost\"]\nreceive-wait = \"10ms\"\n").unwrap();
    let url = format!("WS_URL={}", server.url);
    let output = run(&["--config", file.to_str().unwrap(), "--env", &url], &guest_path("guest_example")).await;
    assert_eq!(stdout(&output), "SUCCESS: No message received", "{output:?}");
}

#[tokio::test]
async fn the_program_talks_to_its_own_echo_server() {
    for tls in [false, true] {
        let options: &[&str] = if tls { &["echo", "--tls"] } else { &["echo"] };
        let mut echo = Running::start(options);
        let ca = if tls { echo.line("certificate authority: ").await } else { String::new() };
        let url = format!("WS_URL={}", echo.line("listening on ").await);
        let mut options = vec!["--allow", "localhost", "--env", &url];
        if tls {
            options.extend(["--ca-cert", &ca]);
        }
        let output = run(&options, &guest_path("guest_example")).await;
        assert_eq!(stdout(&output), "SUCCESS: Received response: Hello, WebSocket!", "{output:?}");
        let (status, errors) = echo.interrupt().await;
        assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    }
}

#[tokio::test]
async fn a_guest_whose_toolchain_imports_wasi_http_runs() {
    let import = r#"(import "wasi:http/types@0.2.10" (instance (export "fields" (type (sub resource)))))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.wasm");
    std::fs::write(&path, component_with(import, &["a"], "i32.const 0")).unwrap();
    let output = run(&[], &path).await;
    assert_eq!(stdout(&output), "hello", "{output:?}");
}
