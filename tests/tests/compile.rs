//! Compiled code: kept in a cache, or compiled ahead with `compile`; and the message about a long compilation.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    time::Duration,
};
use test_peer::damaged;
use tests::{Behaviour, Server, component, core_guest, guest, guest_path, program, soon};
use tokio::time::timeout;

/// Runs the program with these arguments and this cache folder; returns how it ended and what it printed.
async fn ended(arguments: &[&str], caches: &Path) -> (ExitStatus, String, String) {
    let mut command = program();
    command
        .args(arguments)
        .env("XDG_CACHE_HOME", caches)
        .env("RUST_LOG", "warn,websocket_provider::cache=debug,websocket_provider::compile=warn");
    let Output { status, stdout, stderr } = soon(command.output()).await.unwrap();
    (status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A folder with a small component, and its path.
fn hello() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hello.wasm");
    fs::write(&path, component(&["a"], "i32.const 0")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[tokio::test]
async fn a_second_start_takes_code_from_the_cache() {
    let (folder, hello) = hello();
    for said in ["compiled code is kept in", "compiled code comes from", "compiled code comes from"] {
        let (status, stdout, stderr) = ended(&["run", &hello], folder.path()).await;
        assert!(status.success() && stdout == "hello\n" && stderr.contains(said), "{said}: {stdout}{stderr}");
    }
    let (_, _, stderr) = ended(&["inspect", &hello], folder.path()).await;
    assert!(stderr.contains("compiled code comes from"), "{stderr}");
}

/// The one file of a cache.
fn entry(caches: &Path) -> PathBuf {
    let mut files = fs::read_dir(caches.join("websocket-provider")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "one guest has one file");
    file
}

#[tokio::test]
async fn a_guest_whose_cached_code_is_damaged_is_compiled_again() {
    let (folder, hello) = hello();
    let caches = folder.path().join("caches");
    ended(&["run", &hello], &caches).await;
    let entry = entry(&caches);
    let whole = fs::read(&entry).unwrap();
    for seed in 0..20 {
        let damaged = damaged(&whole, seed);
        fs::write(&entry, &damaged).unwrap();
        let (status, stdout, stderr) = ended(&["run", &hello], &caches).await;
        assert!(status.success() && stdout == "hello\n", "seed {seed}: {stdout}{stderr}");
        assert!(damaged == whole || stderr.contains("compiled code is kept in"), "seed {seed}: {stderr}");
        assert!(fs::read(&entry).unwrap() == whole, "seed {seed}");
    }
}

#[tokio::test]
async fn without_a_cache_nothing_is_kept() {
    let (folder, hello) = hello();
    let caches = folder.path().join("caches");
    let (status, stdout, stderr) = ended(&["run", "--no-cache", &hello], &caches).await;
    assert!(status.success() && stdout == "hello\n" && stderr.is_empty(), "{stdout}{stderr}");
    assert!(!caches.exists());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_a_warning() {
    let (folder, hello) = hello();
    // A file stands where the cache folder should be, then a folder where its only file should be.
    let caches = folder.path().join("caches");
    ended(&["run", &hello], &caches).await;
    let entry = entry(&caches);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    for caches in [Path::new(&hello), &caches] {
        let (status, stdout, stderr) = ended(&["run", &hello], caches).await;
        assert!(status.success() && stdout == "hello\n", "{stdout}{stderr}");
        assert!(stderr.contains("compiled code is not kept") && stderr.contains("--no-cache"), "{stderr}");
    }
}

#[tokio::test]
async fn a_precompiled_guest_runs_where_the_operator_trusts_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.cwasm");
    let (path, guest) = (path.to_str().unwrap(), guest_path("guest_example"));
    let (status, stdout, stderr) = ended(&["compile", guest.to_str().unwrap(), "-o", path], folder.path()).await;
    assert!(status.success() && stdout.contains(path) && stderr.is_empty(), "{stdout}{stderr}");

    let server = Server::start(Behaviour::Echo).await;
    let url = format!("WS_URL={}", server.url);
    let options = ["run", "--allow", "localhost", "--env", &url, path];
    let (status, stdout, stderr) = ended(&options, folder.path()).await;
    assert!(status.code() == Some(1) && stderr.contains("add --allow-precompiled"), "{stdout}{stderr}");
    let (status, stdout, stderr) = ended(&[&options[..], &["--allow-precompiled"]].concat(), folder.path()).await;
    assert!(status.success() && stdout.contains("Hello, WebSocket!") && stderr.is_empty(), "{stdout}{stderr}");

    let (status, stdout, _) = ended(&["inspect", path], folder.path()).await;
    assert!(status.success() && stdout.contains("run --allow-precompiled"), "{stdout}");
    for (command, said) in [("serve", "is a component"), ("compile", "is compiled already")] {
        let more: &[&str] = if command == "compile" { &["-o", "elsewhere"] } else { &[] };
        let (status, _, stderr) = ended(&[&[command, path], more].concat(), folder.path()).await;
        assert!(status.code() == Some(1) && stderr.contains(said), "{command}: {stderr}");
    }
    // Code for another machine, and a truncated file.
    let (whole, machine) = (fs::read(path).unwrap(), std::env::consts::ARCH.as_bytes());
    let at = whole.windows(machine.len()).position(|bytes| bytes == machine).expect("code names its machine");
    let mut other = whole.clone();
    other[at..][..machine.len()].reverse();
    let mut altered = whole.clone();
    altered[whole.len() - 100] ^= 1;
    for (bytes, said) in [
        (&other[..], "compile the guest again"),
        (&altered, "its digest does not match: the file is damaged"),
        (&whole[..whole.len() - 1], "its digest does not match: the file is damaged"),
        (&whole[..1000], "is not WebAssembly"),
    ] {
        fs::write(path, bytes).unwrap();
        let (status, _, stderr) = ended(&["run", "--allow-precompiled", path], folder.path()).await;
        assert!(status.code() == Some(1) && stderr.contains(said), "{stderr}");
    }
}

#[tokio::test]
async fn each_engine_takes_what_was_compiled_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("concurrent.cwasm");
    let (path, guest) = (path.to_str().unwrap(), guest_path("concurrent"));
    let (status, _, stderr) = ended(&["compile", guest.to_str().unwrap(), "-o", path], folder.path()).await;
    assert!(status.success(), "{stderr}");
    // Without URLs there is nothing for it to do.
    let (status, _, stderr) = ended(&["run", "--allow-precompiled", path], folder.path()).await;
    assert!(status.success(), "{stderr}");
}

#[tokio::test]
async fn a_failed_compilation_leaves_files_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (component, module, broken) = (in_folder("a.wasm"), in_folder("b.wasm"), in_folder("c.wasm"));
    let mut bytes = guest("guest_example");
    fs::write(&component, &bytes).unwrap();
    fs::write(&module, core_guest("chat_room")).unwrap();
    bytes.truncate(1000);
    fs::write(&broken, &bytes).unwrap();
    let (kept, nowhere) = (in_folder("kept"), in_folder("no/such/folder"));
    fs::write(&kept, "as it was").unwrap();
    for (guest, output, said) in [
        (&component, &component, "is the guest itself"),
        (&module, &kept, "is a core module"),
        (&broken, &kept, "cannot be compiled"),
        (
            &component,
            &nowhere,
            &format!("error: cannot write {nowhere}: there is no folder {}\n", in_folder("no/such")),
        ),
    ] {
        let (status, stdout, stderr) = ended(&["compile", guest, "-o", output], folder.path()).await;
        assert!(status.code() == Some(1) && stdout.is_empty() && stderr.contains(said), "{said}: {stdout}{stderr}");
    }
    assert_eq!(fs::read(&component).unwrap(), guest("guest_example"));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "as it was");
}

/// Long enough for a slow compilation on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// Many long functions, which take seconds to compile.
fn slow_functions() -> String {
    let steps =
        "(i32.add (local.get 0) (i32.const 1)) (local.set 0) (i32.store (local.get 0) (local.get 0))".repeat(100);
    format!("(func (param i32) {steps})").repeat(2000)
}

fn slow() -> Vec<u8> {
    wat::parse_str(format!("(component (core module (memory 1) {}))", slow_functions())).unwrap()
}

#[tokio::test]
async fn a_long_compilation_is_reported_in_one_plain_line_at_any_log_level() {
    let folder = tempfile::tempdir().unwrap();
    let (component, module) = (folder.path().join("slow.wasm"), folder.path().join("page.wasm"));
    fs::write(&component, slow()).unwrap();
    let echo = include_str!("../guests/echo-shipped.wat").trim_end().strip_suffix(')').unwrap();
    fs::write(&module, wat::parse_str(format!("{echo}{})", slow_functions())).unwrap()).unwrap();
    let (component, module) = (component.to_str().unwrap(), module.to_str().unwrap());
    for (arguments, level, outlook) in [
        (&["inspect", component][..], "error", "; later starts use the cache"),
        (&["inspect", module], "", "; each start compiles"),
        (&["serve", "--listen", "127.0.0.1:0", "--memory-limit", "1KiB", module], "warn", "; each start compiles"),
    ] {
        let mut command = program();
        command.args(arguments).env("RUST_LOG", level).env("XDG_CACHE_HOME", folder.path());
        let output = timeout(LONG, command.output()).await.unwrap().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let told: Vec<_> = log.lines().filter(|line| line.contains("compiling ")).collect();
        assert!(told.len() == 1 && told[0].ends_with(outlook) && !told[0].contains('\x1b'), "{arguments:?}: {log}");
    }
}

#[tokio::test]
async fn a_long_compilation_is_reported_and_a_short_one_is_not() {
    let (folder, hello) = hello();
    let path = folder.path().join("slow.wasm");
    fs::write(&path, slow()).unwrap();
    let told = async |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).args(["--log-format", "json"]);
        command.env("RUST_LOG", "warn").env("XDG_CACHE_HOME", folder.path());
        let output = timeout(LONG, command.output()).await.unwrap().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line["fields"]["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let path = path.to_str().unwrap();
    let once = told(&["inspect", path]).await;
    assert!(
        once.len() == 1 && once[0].contains("slow.wasm (") && once[0].ends_with("; later starts use the cache"),
        "{once:?}"
    );
    assert!(told(&["inspect", path]).await.is_empty(), "it comes from the cache");
    let each = told(&["inspect", "--no-cache", path]).await;
    assert!(each.len() == 1 && each[0].contains("each start"), "{each:?}");
    assert!(told(&["run", &hello]).await.is_empty());
}
