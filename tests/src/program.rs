//! The program under test, run as a user runs it.

use crate::second_host;
use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    // cargo marks it for backups.
    let found = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    found.expect("cargo built this").to_owned()
}

fn built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run the tests with `make test`, which builds it", path.display());
    path
}

/// The program logs warnings, but not the message about a long compilation, which is common on a busy machine.
const LEVEL: &str = "warn,websocket_provider::compile=warn";

/// A command line of the program, without colours, secrets of the environment or standard input, and with a cache of the
/// tests' own.
pub fn program() -> Command {
    second_host::must_not_run();
    let mut command = Command::new(built(target().join("debug/websocket-provider")));
    command.kill_on_drop(true).stdin(Stdio::null()).env("RUST_LOG", LEVEL);
    command.env("XDG_CACHE_HOME", target().join("test-cache"));
    command
}

/// The path of a guest of this workspace.
pub fn guest_path(name: &str) -> PathBuf {
    built(target().join("wasm32-wasip2/release").join(name).with_extension("wasm"))
}

/// The bytes of a guest that is a core module.
pub fn core_guest(name: &str) -> Vec<u8> {
    let file = built(target().join("wasm32-unknown-unknown/release").join(name).with_extension("wasm"));
    std::fs::read(file).expect("a guest can be read")
}

/// The path of a transport of this workspace.
pub fn transport_path(name: &str) -> PathBuf {
    built(target().join("wasm32-wasip1/release").join(name).with_extension("wasm"))
}

/// The path of an example of this workspace's libraries; testing the workspace builds them.
pub fn example_path(name: &str) -> PathBuf {
    built(target().join("debug/examples").join(name))
}

/// A guest's bytes.
pub fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guest_path(name)).expect("a guest can be read")
}

/// Runs a guest to its end.
pub async fn run(options: &[&str], guest: &Path) -> Output {
    crate::soon(program().arg("run").args(options).arg(guest).output()).await.expect("the program starts")
}

/// Checks that a guest answers `--help` as a command does, and each of these wrong uses with its usage.
pub async fn has_usage(guest: &Path, wrong: &[&[&str]]) {
    let used = async |args: &[&str]| {
        let mut command = program();
        command.args(["run", "--timeout", "25s"]).arg(guest).arg("--").args(args);
        let output = crate::soon(command.output()).await.expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("a guest prints text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for help in ["--help", "-h"] {
        let (code, stdout, stderr) = used(&[help]).await;
        assert!(code == Some(0) && stdout.contains("\nusage: "), "{help}: {code:?} {stdout}{stderr}");
        assert!(!stderr.contains("usage: "), "{help}: {stderr}");
    }
    for args in wrong {
        let (code, stdout, stderr) = used(args).await;
        assert!(code == Some(2) && stdout.is_empty(), "{args:?}: {code:?} {stdout}{stderr}");
        assert!(stderr.contains("\nusage: "), "{args:?}: {stderr}");
    }
}

/// `run` with these options, all of this machine allowed, and the guest `unruly` on its way to this URL.
pub fn unruly(options: &[&str], way: &str, url: &str) -> Command {
    let mut command = program();
    command.args(["run", "--allow", "localhost"]).args(options).arg(guest_path("unruly")).args(["--", way, url]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends the signal of Ctrl-C to a child that runs.
pub async fn interrupt(child: &Child) {
    signal(child, "INT").await;
}

/// Sends a signal, by its name, to a child that runs.
pub async fn signal(child: &Child, name: &str) {
    let (id, flag) = (child.id().expect("it runs").to_string(), format!("-{name}"));
    let sent = Command::new("kill").args([&flag, &id]).status().await.expect("kill starts");
    assert!(sent.success());
}

/// A program that was started and prints lines.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: BufReader<ChildStderr>,
    /// What was read of its errors.
    log: String,
}

impl Running {
    /// Starts the program, in the folder of the workspace.
    pub fn start(args: &[&str]) -> Running {
        let mut command = program();
        command.args(args);
        Running::spawn(command)
    }

    /// Starts the program, or an example, by this command.
    pub fn of(command: Command) -> Running {
        Running::spawn(command)
    }

    /// Starts the program by a command that ends with the program and its arguments.
    pub fn start_in(wrapper: &[&str], args: &[&str]) -> Running {
        let program = program();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(program.as_std().get_program()).args(args);
        command.kill_on_drop(true).stdin(Stdio::null()).env("RUST_LOG", LEVEL);
        Running::spawn(command)
    }

    fn spawn(mut command: Command) -> Running {
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        Running { child, lines: BufReader::new(stdout).lines(), errors: BufReader::new(stderr), log: String::new() }
    }

    /// Returns the remainder of the next line that begins with `prefix`.
    pub async fn line(&mut self, prefix: &str) -> String {
        loop {
            let line = crate::soon(self.lines.next_line()).await.expect("its output can be read");
            let line = line.unwrap_or_else(|| panic!("the program ended before it printed {prefix:?}"));
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Waits until a line of its log contains this.
    pub async fn logs(&mut self, part: &str) {
        while !self.log.lines().last().is_some_and(|line| line.contains(part)) {
            let read = crate::soon(self.errors.read_line(&mut self.log)).await.expect("its errors can be read");
            assert_ne!(read, 0, "the program ended before it logged {part:?}: {}", self.log);
        }
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends SIGINT, as Ctrl-C does; returns the exit status and the log.
    pub async fn interrupt(self) -> (ExitStatus, String) {
        self.signal("INT").await;
        self.ended().await
    }

    /// Sends a signal, by its name.
    pub async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Waits for its end; returns the exit status and the log.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = crate::soon(async {
            self.errors.read_to_string(&mut self.log).await.expect("its errors can be read");
            self.child.wait().await.expect("it ends")
        })
        .await;
        (status, self.log)
    }
}
