//! Bad input: one paragraph that names the thing and the remedy, exit code 1, or 2 for usage.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use test_peer::Authority;
use tests::{component, component_with, guest_path, program, soon};
use tokio::net::TcpListener;
use websocket_abi_bridge::{EmbeddedStores, Stores, codec::StoreCall};

/// Runs the program with bad input, checks the form of its error message, and returns the message.
async fn complaint(args: &[&str], code: i32) -> String {
    let output = soon(program().args(args).env("RUST_BACKTRACE", "1").output()).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    assert_eq!(output.stdout, b"", "{args:?}: answers go to standard output, complaints do not");
    assert!(errors.starts_with("error: "), "{errors}");
    assert!(!errors.contains("backtrace") && !errors.contains("panicked"), "{errors}");
    assert!(code == 2 || !errors.trim_end().contains("\n\n"), "one paragraph: {errors}");
    errors
}

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_file_that_is_not_a_guest_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.wasm");
    assert!(complaint(&["run", text(&missing)], 1).await.contains("missing.wasm"));
    let not_wasm = file(&folder, "notes.txt", "hello");
    assert!(complaint(&["run", text(&not_wasm)], 1).await.contains("is not WebAssembly"));
    let module = file(&folder, "module.wasm", wat::parse_str(r#"(module (func (export "f")))"#).unwrap());
    assert!(complaint(&["run", text(&module)], 1).await.contains("wasm-tools component new"));
    let empty = file(&folder, "empty.wasm", wat::parse_str("(module)").unwrap());
    for command in ["run", "serve", "compile"] {
        let output = if command == "compile" { &["-o", "out.cwasm"][..] } else { &[] };
        let why = complaint(&[&[command, text(&empty)], output].concat(), 1).await;
        assert!(why.contains("it exports nothing") && !why.contains("component new"), "{why}");
    }
    let mut cut = component(&["a"], "i32.const 0");
    cut.truncate(cut.len() / 2);
    let cut = file(&folder, "cut.wasm", cut);
    assert!(complaint(&["run", text(&cut)], 1).await.contains("cannot be compiled"));
    assert!(complaint(&["inspect", text(&missing)], 1).await.contains("missing.wasm"));
}

#[tokio::test]
async fn a_component_that_run_cannot_call_is_refused_with_its_exports() {
    let folder = tempfile::tempdir().unwrap();
    let empty = file(&folder, "empty.wasm", wat::parse_str("(component)").unwrap());
    let why = complaint(&["run", text(&empty)], 1).await;
    assert!(why.contains("exports nothing") && why.contains("call: func() -> string"), "{why}");
    let several = file(&folder, "several.wasm", component(&["one", "two"], "i32.const 0"));
    let why = complaint(&["run", text(&several)], 1).await;
    assert!(why.contains("test:text/one") && why.contains("test:text/two") && why.contains("--call"), "{why}");
    let output = soon(program().args(["run", "--call", "two", text(&several)]).output()).await.unwrap();
    assert_eq!(output.stdout, b"hello\n");
}

#[tokio::test]
async fn an_import_that_nobody_provides_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let import = r#"(import "other:thing/api" (instance (export "f" (func))))"#;
    let path = file(&folder, "foreign.wasm", component_with(import, &["a"], "i32.const 0"));
    let why = complaint(&["run", text(&path)], 1).await;
    assert!(why.contains("foreign.wasm imports what") && why.contains("other:thing/api"), "{why}");
}

#[tokio::test]
async fn a_trap_ends_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let trap = file(&folder, "trap.wasm", component(&["a"], "unreachable"));
    let why = complaint(&["run", text(&trap)], 1).await;
    assert!(why.contains("trap.wasm trapped") && why.contains("unreachable"), "{why}");
}

#[tokio::test]
async fn a_guest_that_uses_too_much_time_or_memory_is_terminated() {
    let folder = tempfile::tempdir().unwrap();
    let endless = file(&folder, "endless.wasm", component(&["a"], "(loop (br 0)) unreachable"));
    let why = complaint(&["run", "--timeout", "200ms", text(&endless)], 1).await;
    assert!(why.contains("endless.wasm did not end within 200ms"), "{why}");
    let greedy = component(&["a"], "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable");
    let greedy = file(&folder, "greedy.wasm", greedy);
    let why = complaint(&["run", "--memory-limit", "64MiB", "--timeout", "20s", text(&greedy)], 1).await;
    assert!(why.contains("more memory than 64.0 MiB; raise --memory-limit"), "{why}");
}

#[tokio::test]
async fn settings_with_a_typo_are_usage_errors_on_the_command_line() {
    let guest = guest_path("guest_example");
    for (args, named) in [
        (["--receive-wait", "soon"], "500ms"),
        (["--max-message-size", "big"], "16MiB"),
        (["--allow", "ws://a"], "without a scheme"),
        (["--recieve-wait", "1s"], "--receive-wait"),
        (["--memory-limit", "99999TiB"], "1.0 TiB"),
        (["--memory-limit", "0"], "1 byte"),
        (["--timeout", "0s"], "1ms"),
        (["--connect-timeout", "1h"], "connect-timeout-max"),
        (["--env", "SURELY_UNSET_VARIABLE"], "SURELY_UNSET_VARIABLE=VALUE"),
    ] {
        let why = complaint(&["run", args[0], args[1], text(&guest)], 2).await;
        assert!(why.contains(named), "{why}");
    }
    assert!(complaint(&["run"], 2).await.contains("GUEST.wasm"));
    assert!(complaint(&["fly"], 2).await.contains("fly"));
}

#[tokio::test]
async fn a_configuration_file_with_a_typo_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let guest = guest_path("guest_example");
    for (content, remedy, code) in [
        ("recieve-wait = \"1s\"", "did you mean `receive-wait`?", 2),
        ("receive-wait = 1", "500ms", 2),
        ("allow = [", "line 1", 2),
        ("connect-timeout = \"1h\"", "connect-timeout-max", 2),
        ("ca-cert = \"/does/not/exist.pem\"", "/does/not/exist.pem", 1),
    ] {
        let config = file(&folder, "typo.toml", content);
        let why = complaint(&["run", "--config", text(&config), text(&guest)], code).await;
        assert!(why.contains(remedy), "{content}: {why}");
    }
    let why = complaint(&["run", "--config", "/does/not/exist.toml", text(&guest)], 1).await;
    assert!(why.contains("/does/not/exist.toml"), "{why}");
    let not_pem = file(&folder, "empty.pem", "");
    let why = complaint(&["run", "--ca-cert", text(&not_pem), text(&guest)], 1).await;
    assert!(why.contains("ca-cert") && why.contains("no certificate"), "{why}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let why = complaint(&["echo", "--listen", &address], 1).await;
    assert!(why.contains(&address) && why.contains("--listen"), "{why}");
}

/// A store file in which the order of all pages after the first is reversed.
fn scrambled_store(path: &Path) -> Vec<u8> {
    let stores = EmbeddedStores::file(path).unwrap();
    stores.import("s").unwrap();
    for number in 0..200 {
        let document = format!(r#"{{"id":"{number}","text":"{}"}}"#, "x".repeat(500));
        stores.call("s", &StoreCall::Insert(document)).unwrap();
    }
    drop(stores);
    let mut bytes = std::fs::read(path).unwrap();
    let (pages, last) = bytes[4096..].as_chunks_mut::<4096>();
    assert!(last.is_empty());
    pages.reverse();
    std::fs::write(path, &bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_server_that_cannot_serve_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let echo = wat::parse_str(include_str!("../guests/echo-shipped.wat")).unwrap();
    let echo = file(&folder, "echo.wasm", echo);
    let (empty, garbage) = (file(&folder, "empty.pem", ""), file(&folder, "garbage", "no database"));
    let scrambled = folder.path().join("scrambled");
    let scrambled_pages = scrambled_store(&scrambled);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let others = Authority::new("other");
    let (other, _) = others.issue_files("localhost");
    for (args, named) in [
        (&["--listen", &address][..], &["--listen", &address][..]),
        (&["--tls-cert", "/does/not/exist.pem", "--tls-key", &key], &["/does/not/exist.pem", "PEM"]),
        (&["--tls-cert", text(&empty), "--tls-key", &key], &["empty.pem", "no certificate"]),
        (&["--tls-cert", &certificate, "--tls-key", text(&empty)], &["empty.pem", "private key"]),
        (&["--tls-cert", &other, "--tls-key", &key], &[&other, &key, "cannot be used with"]),
        (&["--store", text(&garbage)], &["garbage", "not a store"]),
        (&["--store", text(&scrambled)], &["scrambled", "it is damaged", "restore it from a copy"]),
        (&["--store", "/does/not/exist/stores"], &["/does/not/exist/stores"]),
        (&["--memory-limit", "1KiB"], &["echo.wasm", "memory"]),
    ] {
        let all = [&["serve", "--listen", "127.0.0.1:0"][..], args, &[text(&echo)]].concat();
        let all = if args[0] == "--listen" { [&["serve"][..], args, &[text(&echo)]].concat() } else { all };
        let why = complaint(&all, 1).await;
        assert!(named.iter().all(|part| why.contains(part)), "{args:?}: {why}");
        assert!(!why.contains("called `") && !why.contains("unwrap"), "no text of a panic: {why}");
    }
    let conflict = ["serve", "--max-connections", "20", "--max-connections-total", "10", text(&echo)];
    assert!(complaint(&conflict, 2).await.contains("max-connections is over max-connections-total"));
    for args in [["--tls-cert", &certificate], ["--instances", "0"], ["--callback-timeout", "soon"], ["--allow", "*"]] {
        let why = complaint(&["serve", args[0], args[1], text(&echo)], 2).await;
        assert!(why.contains(args[0]), "{why}");
    }
    assert_eq!(std::fs::read_to_string(garbage).unwrap(), "no database", "bad input loses nothing");
    assert!(std::fs::read(scrambled).unwrap() == scrambled_pages, "damage loses nothing more");
}

#[tokio::test]
async fn a_closed_standard_output_is_an_error_and_not_a_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut inspect = program();
    inspect.arg("inspect").arg(guest_path("guest_example")).stdout(writer).stderr(std::process::Stdio::piped());
    let output = soon(inspect.spawn().unwrap().wait_with_output()).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("error: cannot write to standard output"), "{errors}");
}
