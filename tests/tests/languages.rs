//! The examples of every language, built by `scripts/languages`: greetings over `ws` and `wss`, and followers
//! of a market feed with typical faults.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tests::{Behaviour, Running, Server, guest_path, has_usage, interrupt, program, second_host, skipped, target};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Long enough to compile the largest guest on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A guest in the folder of an example; `None` where it was not built.
fn example(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("examples/{file} is missing: scripts/languages builds it, and says what that needs"));
    None
}

/// Has a guest greet the server at this URL.
async fn greet(guest: &Path, url: &str, options: &[&str]) -> Output {
    let mut command = program();
    command.args(["run", "--allow", "localhost", "--env"]).arg(format!("WS_URL={url}")).args(options).arg(guest);
    timeout(PATIENCE, command.output()).await.expect("a greeting takes no longer").unwrap()
}

/// Greets servers of every kind, one that refuses included.
async fn greets(guest: &Path, language: &str) {
    let answer = format!("the server answered: Hello from {language}!\n");
    for tls in [false, true] {
        let mut echo = Running::start(if tls { &["echo", "--tls"] } else { &["echo"] });
        let ca = if tls { echo.line("certificate authority: ").await } else { String::new() };
        let url = echo.line("listening on ").await;
        let options: &[&str] = if tls { &["--ca-cert", &ca] } else { &[] };
        let output = greet(guest, &url, options).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), answer, "{url}: {output:?}");
        // A first start reports the compilation.
        let errors = String::from_utf8_lossy(&output.stderr);
        let quiet = errors.lines().all(|line| line.contains(" compiling "));
        assert!(output.status.success() && quiet, "{url}: {output:?}");
    }
    let mut server = Server::start(Behaviour::Echo).await;
    assert!(greet(guest, &server.url, &[]).await.status.success());
    assert_eq!(server.close_code().await, Some(1000), "it closes what it opened");

    // It is ended while it waits, and its connection with it, which no language drops then.
    let mut server = Server::start(Behaviour::Silent).await;
    let output = greet(guest, &server.url, &["--timeout", "1s"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("--timeout") && !output.status.success(), "{output:?}");
    assert_eq!(server.close_code().await, Some(1001), "the host closes what it leaves open");

    // The same on the second host.
    if let Some(folder) = second_host::transpile(guest).await {
        let mut server = Server::start(Behaviour::Echo).await;
        let mut command = second_host::command_of(&folder, &["--allow", "localhost"]);
        let output = timeout(PATIENCE, command.env("WS_URL", &server.url).output()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), answer, "{output:?}");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(server.close_code().await, Some(1000));
    }

    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let output = greet(guest, &format!("ws://localhost:{port}/"), &[]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().any(|line| line.starts_with("hello: ") && line.contains("refused")), "{output:?}");
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");

    has_usage(guest, &[&[], &["--helf"], &["ws://localhost:1/"]]).await;
}

#[tokio::test]
async fn rust() {
    greets(&guest_path("hello-rust"), "Rust").await;
}

#[tokio::test]
async fn javascript_on_quickjs() {
    let Some(guest) = example("javascript/hello-quickjs.wasm") else { return };
    greets(&guest, "JavaScript").await;
}

#[tokio::test]
async fn javascript_on_starlingmonkey() {
    let Some(guest) = example("javascript/hello-starlingmonkey.wasm") else { return };
    greets(&guest, "JavaScript").await;
}

#[tokio::test]
async fn python() {
    let Some(guest) = example("python/hello.wasm") else { return };
    greets(&guest, "Python").await;
}

#[tokio::test]
async fn c() {
    let Some(guest) = example("c/hello.wasm") else { return };
    greets(&guest, "C").await;
}

#[tokio::test]
async fn go() {
    let Some(guest) = example("go/hello.wasm") else { return };
    greets(&guest, "Go").await;
}

/// The feed of tests/peers.
struct Feed {
    port: u16,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Feed {
    /// `None` where its library is not installed.
    async fn start() -> Option<Feed> {
        let modules = target().join("peers/node_modules");
        if !modules.join("ws").exists() {
            skipped("npm's ws is missing: scripts/peers installs it, and says what that needs");
            return None;
        }
        let mut node = Command::new("node");
        node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/feed.cjs")).env("NODE_PATH", modules);
        let mut process = node.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut feed = Feed { port: 0, commands: process.stdin.take().unwrap(), lines, _process: process };
        feed.port = feed.says("listening on ").await.parse().unwrap();
        Some(feed)
    }

    async fn told(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// The rest of its next line that begins so.
    async fn says(&mut self, prefix: &str) -> String {
        next(&mut self.lines, prefix).await
    }
}

/// A guest that follows, and the lines that it prints.
struct Follower {
    process: Child,
    ticks: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<tokio::process::ChildStderr>>,
    last: u64,
}

impl Follower {
    fn start(guest: &Path, args: &[&str]) -> Follower {
        let mut command = program();
        command.args(["run", "--allow", "localhost"]).arg(guest).arg("--").args(args);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ticks = BufReader::new(process.stdout.take().unwrap()).lines();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Follower { process, ticks, log, last: 0 }
    }

    /// Takes so many ticks, each of which must be the next.
    async fn ticks(&mut self, count: u64) {
        for _ in 0..count {
            self.last += 1;
            next(&mut self.ticks, &format!("EURUSD {} 1", self.last)).await;
        }
    }

    async fn logs(&mut self, prefix: &str) -> String {
        next(&mut self.log, prefix).await
    }

    async fn exit_code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.process.wait()).await.expect("it ends").unwrap().code()
    }
}

/// The rest of the next line, which for ticks must begin so; other lines are passed over until one does.
async fn next<R: tokio::io::AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, prefix: &str) -> String {
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line comes").unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended before it printed {prefix:?}"));
        if let Some(rest) = line.strip_prefix(prefix) {
            return rest.to_owned();
        }
        assert!(!line.starts_with("EURUSD"), "{line:?} came instead of {prefix:?}");
    }
}

/// Follows a feed through everything that it does.
async fn follows(guest: &Path) {
    let Some(mut feed) = Feed::start().await else { return };
    let url = format!("ws://localhost:{}/", feed.port);
    let mut follower = Follower::start(guest, &[&url, "EURUSD"]);
    assert_eq!(feed.says("subscribed EURUSD after ").await, "0");
    follower.ticks(5).await;

    feed.told("skip").await;
    let gap = follower.logs("gap: ").await;
    let missing: u64 = gap.split(" instead of ").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    let after: u64 = feed.says("subscribed EURUSD after ").await.parse().unwrap();
    assert_eq!(after + 1, missing, "it asks for what is missing");
    follower.ticks(missing - follower.last + 5).await;

    for (trouble, why) in [
        ("drop", "io-error"),
        ("silence", "timeout"),
        ("close 1001 maintenance", "1001 maintenance"),
        ("close 1012 restart", "1012 restart"),
    ] {
        feed.told(trouble).await;
        let lost = follower.logs("lost: ").await;
        let said = lost.to_lowercase().replace("ioerror", "io-error");
        assert!(said.contains(why), "{trouble}: {lost}");
        let after: u64 = feed.says("subscribed EURUSD after ").await.parse().unwrap();
        assert!(after >= follower.last, "{trouble}: it goes on where it was");
        follower.ticks(after - follower.last + 5).await;
    }
    feed.told("close 1000 that was all").await;
    assert_eq!(follower.exit_code().await, Some(0), "the feed has ended");
    feed.says("closed 1000").await;

    let mut follower = Follower::start(guest, &[&url, "EURUSD", "7"]);
    follower.ticks(7).await;
    assert_eq!(follower.exit_code().await, Some(0));
    feed.says("closed 1000 followed").await;

    let mut follower = Follower::start(guest, &[&url, "EURUSD"]);
    follower.ticks(3).await;
    interrupt(&follower.process).await;
    assert_eq!(follower.exit_code().await, Some(130));
    feed.says("closed 1001").await;

    drop(feed);
    let mut follower = Follower::start(guest, &[&url, "EURUSD"]);
    assert!(follower.logs("follower: gave up: ").await.contains("refused"));
    assert_eq!(follower.exit_code().await, Some(1));

    has_usage(guest, &[&[], &["--helf"], &[&url], &[&url, "EURUSD", "x"], &[&url, "EURUSD", "1", "more"]]).await;
}

#[tokio::test]
async fn rust_follows_a_feed() {
    follows(&guest_path("follower")).await;
}

#[tokio::test]
async fn javascript_follows_a_feed() {
    let Some(guest) = example("follower/javascript/follower.wasm") else { return };
    follows(&guest).await;
}
