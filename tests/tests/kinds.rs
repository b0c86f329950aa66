//! Every kind of file with every command. The command for that kind runs the file, and every other command names it. No
//! text names a flag that its command does not have.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use tempfile::TempDir;
use tests::{component, component_with, guest_path, program, soon, transport_path};

/// A file, what it is, and the command that runs it.
struct Kind {
    name: &'static str,
    bytes: Vec<u8>,
    runner: Option<&'static str>,
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A transport whose exports are these beside those that all have, with this import.
fn transport(import: &str, more: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {import} (memory (export "memory") 1) (global (export "_water_v0") i32 (i32.const 0))
            (func (export "_water_init") (result i32) (i32.const 0))
            (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
            (func (export "_water_worker") (result i32) (i32.const 0)) {more})"#
    ))
}

const DIALS: &str = r#"(func (export "_water_dial") (param i32) (result i32) (i32.const -1))"#;

async fn kinds(folder: &TempDir) -> Vec<Kind> {
    let kind = |name, bytes, runner| Kind { name, bytes, runner };
    let call = component(&["a"], "i32.const 0");
    let compiled = folder.path().join("compiled");
    let source = folder.path().join("source");
    std::fs::write(&source, &call).unwrap();
    let output = soon(program().arg("compile").arg(&source).arg("-o").arg(&compiled).output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let foreign = r#"(import "other:thing/api" (instance (export "f" (func))))"#;
    vec![
        kind("a command", std::fs::read(guest_path("ws-cat")).unwrap(), Some("run")),
        kind("a component with a call", call, Some("run")),
        kind("a precompiled component", std::fs::read(compiled).unwrap(), Some("run --allow-precompiled")),
        kind("a component that exports nothing", wat("(component)"), None),
        kind("a component that imports what nobody has", component_with(foreign, &["a"], "i32.const 0"), None),
        kind("a payload module", wat(include_str!("../guests/echo-shipped.wat")), Some("serve")),
        kind("a transport", std::fs::read(transport_path("transport")).unwrap(), Some("watm")),
        kind("a transport that dials", transport("", DIALS), Some("watm")),
        kind("a transport without roles", transport("", ""), None),
        kind("a later transport", wat(r#"(module (func (export "watm_init_v1")))"#), None),
        kind(
            "a command of WASI preview 1",
            wat(
                r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (func (export "_start")))"#,
            ),
            None,
        ),
        kind("an empty module", wat("(module)"), None),
        kind("a broken module", [&wat("(module)")[..], &[1, 2, 3]].concat(), None),
        kind("the text of a module", b"(module)".to_vec(), None),
        kind("no WebAssembly", b"hello".to_vec(), None),
    ]
}

async fn output(args: &[&str]) -> (Option<i32>, String, String) {
    let output = soon(program().args(args).output()).await.unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}

/// A command line of each command that takes guests.
fn commands<'a>(guest: &'a str, elsewhere: &'a str) -> Vec<(&'static str, Vec<&'a str>)> {
    let ends = ["--local", "tcp://127.0.0.1:0", "--remote", "tcp://127.0.0.1:9"];
    vec![
        ("run", vec!["run", guest]),
        ("serve", vec!["serve", "--listen", "127.0.0.1:0", guest]),
        ("watm", [&["watm", "dial", guest][..], &ends].concat()),
        ("watm", [&["watm", "listen", guest][..], &ends].concat()),
        ("watm", [&["watm", "relay", guest][..], &ends].concat()),
        ("compile", vec!["compile", guest, "-o", elsewhere]),
    ]
}

/// Asserts that each flag that a text names is one of the command, but for those of command lines that it advises.
async fn names_flags_of(command: &[&str], text: &str) {
    let (_, help, _) = output(&[command, &["--help"]].concat()).await;
    let own: String = text
        .split('`')
        .filter(|part| !(part.starts_with("websocket-provider ") || part.starts_with("wasm-tools ")))
        .collect();
    let flags = own.split(|other: char| !(other.is_ascii_lowercase() || other == '-'));
    for flag in flags.filter(|word| word.starts_with("--") && word.len() > 2) {
        assert!(
            help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
            "{command:?}: {flag}: {text}"
        );
    }
}

fn command_of<'a>(args: &'a [&'a str]) -> &'a [&'a str] {
    if args[0] == "watm" { &args[..2] } else { &args[..1] }
}

fn file(folder: &TempDir, bytes: &[u8]) -> String {
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_guest_of_another_command_is_refused_and_that_command_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    for kind in kinds(&folder).await {
        let guest = file(&folder, &kind.bytes);
        for (command, args) in commands(&guest, elsewhere) {
            let runs = kind.runner.is_some_and(|runner| runner.starts_with(command));
            let compiles = command == "compile" && !kind.name.contains("precompiled") && is_component(&kind.bytes);
            if compiles || runs && !kind.name.contains("precompiled") {
                continue;
            }
            let (code, stdout, stderr) = output(&args).await;
            assert!(code == Some(1) && stdout.is_empty(), "{}, {args:?}: {stdout}{stderr}", kind.name);
            assert!(stderr.contains("guest.wasm"), "{}, {args:?}: {stderr}", kind.name);
            match kind.runner {
                // `run` asks for the flag that it needs.
                Some(_) if runs => assert!(stderr.contains("--allow-precompiled"), "{stderr}"),
                Some(runner) => {
                    let advice = format!("use `websocket-provider {runner}");
                    assert!(stderr.contains(&advice), "{}, {args:?}: {stderr}", kind.name);
                }
                // Only linking shows that; `run` and `inspect` link.
                None if kind.name.contains("imports") => {}
                None => assert!(!stderr.contains("use `websocket-provider"), "{}, {args:?}: {stderr}", kind.name),
            }
            names_flags_of(command_of(&args), &stderr).await;
        }
    }
    assert!(!Path::new(elsewhere).exists());
}

fn is_component(bytes: &[u8]) -> bool {
    wasmparser::Parser::is_component(bytes)
}

#[tokio::test]
async fn inspect_names_the_command_that_runs_a_guest_and_fails_if_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for kind in kinds(&folder).await {
        let guest = file(&folder, &kind.bytes);
        let (code, stdout, stderr) = output(&["inspect", &guest]).await;
        match kind.runner {
            Some(runner) => {
                let line = format!("run it with: websocket-provider {runner}");
                assert!(
                    code == Some(0) && stdout.contains(&line) && stderr.is_empty(),
                    "{}: {stdout}{stderr}",
                    kind.name
                );
            }
            None => {
                assert_eq!(code, Some(1), "{}: {stdout}{stderr}", kind.name);
                assert!(stderr.starts_with("error: ") && stderr.contains("guest.wasm"), "{}: {stderr}", kind.name);
                assert!(!stdout.contains("run it with"), "{}: {stdout}", kind.name);
            }
        }
    }
}

#[tokio::test]
async fn the_command_line_that_inspect_prints_is_one() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [transport("", DIALS), component(&["one", "two"], "i32.const 0")] {
        let guest = file(&folder, &bytes);
        let (_, stdout, stderr) = output(&["inspect", &guest]).await;
        let line = stdout.lines().find_map(|line| line.strip_prefix("run it with: websocket-provider "));
        let line = line.unwrap_or_else(|| panic!("{stdout}{stderr}"));
        // Listening there always fails.
        let line = line.replace("HOST:PORT", "localhost:9").replace("ADDR", "tcp://203.0.113.1:9");
        let args: Vec<&str> = line.split_whitespace().collect();
        let (code, stdout, stderr) = output(&args).await;
        let is_transport = args[0] == "watm";
        assert_eq!(code, Some(i32::from(is_transport)), "{line}: {stdout}{stderr}");
        assert!(!is_transport || stderr.contains("cannot listen on 203.0.113.1:9"), "{stderr}");
    }
}

#[tokio::test]
async fn a_configuration_for_a_transport_that_cannot_read_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "settings").unwrap();
    let pulls = transport(r#"(import "env" "pull_config" (func (result i32)))"#, DIALS);
    for (bytes, reads) in [(pulls, true), (transport("", DIALS), false)] {
        let guest = file(&folder, &bytes);
        // A port that nobody can listen on ends those that begin.
        let ends = ["--local", "tcp://203.0.113.1:9", "--remote", "tcp://127.0.0.1:9"];
        let args = [&["watm", "dial", &guest][..], &ends, &["--config-file", config.to_str().unwrap()]].concat();
        let (code, _, stderr) = output(&args).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert_eq!(stderr.contains("leave --config-file out"), !reads, "{stderr}");
        assert_eq!(stderr.contains("cannot listen on 203.0.113.1:9"), reads, "{stderr}");
    }
}

#[tokio::test]
async fn compile_errors_are_reported_with_their_cause() {
    let folder = tempfile::tempdir().unwrap();
    // A function that returns nothing, although its type returns a number.
    let body = "(func (export \"websocketMessage\") (result i32))";
    let broken = |exports: &str| wat(&format!("(module {exports} {body})"));
    for (command, bytes) in [
        ("serve", broken("")),
        ("watm", broken("(func (export \"_water_init\"))")),
        ("inspect", broken("")),
        ("inspect", broken("(func (export \"_water_init\"))")),
    ] {
        let guest = file(&folder, &bytes);
        let args = commands(&guest, "unused").into_iter().find(|(other, _)| *other == command);
        let args = args.map_or_else(|| vec!["inspect", &guest], |(_, args)| args);
        let (code, _, stderr) = output(&args).await;
        assert_eq!(code, Some(1), "{command}: {stderr}");
        assert!(stderr.contains("does not compile") && stderr.contains("type mismatch"), "{command}: {stderr}");
    }
}

#[tokio::test]
async fn limits_that_conflict_are_flags_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let served = file(&folder, &wat(include_str!("../guests/echo-shipped.wat")));
    let transport = transport_path("transport");
    let transport = transport.to_str().unwrap();
    // One port that nobody can listen on ends those that begin.
    let ends = ["--local", "tcp://203.0.113.1:9", "--remote", "tcp://127.0.0.1:9"];
    let watm = [&["watm", "dial", transport][..], &ends].concat();
    let serve = vec!["serve", "--listen", "203.0.113.1:9", &served];
    for (command, settings) in [
        (&serve, &["--max-message-size", "100MiB"][..]),
        (&serve, &["--keepalive-interval", "500ms"]),
        (&serve, &["--max-connections", "20", "--max-connections-total", "10"]),
        (&watm, &["--max-message-size", "100MiB"]),
        (&watm, &["--connect-timeout", "5m"]),
        (&watm, &["--keepalive-interval", "500ms"]),
        (&watm, &["--max-connections-total", "10"]),
    ] {
        let args = [&command[..], settings].concat();
        let (code, _, stderr) = output(&args).await;
        let conflict = settings.len() > 2;
        assert_eq!(code, Some(if conflict { 2 } else { 1 }), "{args:?}: {stderr}");
        assert_eq!(stderr.contains("cannot listen on 203.0.113.1:9"), !conflict, "{args:?}: {stderr}");
        names_flags_of(command_of(&args), &stderr).await;
    }
}
