//! The Autobahn suite, strictly, in four configurations: a guest that dials, modules that are served, and both roles of the
//! core without Wasm. With `AUTOBAHN=all` every case runs. Otherwise the suite leaves out most cases of sections 12 and 13,
//! which repeat the same traffic with messages of another size.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tests::{Serving, guest_path, program, skipped, target};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Message, Settings};

/// How many cases there are, and how many of them run unless all are asked for.
const ALL: usize = 517;
const SHORT: usize = ALL - 12 * LONG.len();
/// Cases of each part of sections 12 and 13 (12.1 to 12.5, 13.1 to 13.7) that take long: a thousand messages of 4 KiB to
/// 128 KiB each, all of which the suite keeps in memory.
const LONG: [u32; 14] = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_a_guest_that_dials() {
    let Some(Listening { url, folder, suite: _suite }) = listening_suite("client").await else { return };
    let mut guest = program();
    guest.args(["run", "--allow", "localhost", "--compress", "true"]).arg(guest_path("autobahn"));
    guest.args(["--", &url, "guest"]);
    let output = timeout(TAKES, guest.output()).await.expect("the suite ends").unwrap();
    assert!(output.status.success(), "{output:?}");
    judge(&folder, "guest");
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_the_core_that_dials() {
    let Some(Listening { url, folder, suite: _suite }) = listening_suite("core-client").await else { return };
    let endpoint = core();
    let dial = async |path: &str| {
        let mut config = ConnectConfig::new(format!("{url}/{path}"));
        (config.max_message_size, config.keepalive) = (Some(32 << 20), Some(false));
        endpoint.connect(config).await
    };
    let run = async {
        let count = dial("getCaseCount").await?.receive().await?;
        let Some(Message::Text(count)) = count else { panic!("the suite says how many cases there are: {count:?}") };
        for case in 1..=count.parse().expect("it is a number") {
            // The suite judges what happens here; how a case ends is its business.
            echo(dial(&format!("runCase?case={case}&agent=core")).await?).await;
        }
        echo(dial("updateReports?agent=core").await?).await;
        Ok::<_, Error>(())
    };
    timeout(TAKES, run).await.expect("the suite ends").unwrap();
    judge(&folder, "core");
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_modules_that_are_served() {
    let options = ["--compress", "true"];
    let shipped = Serving::start(include_str!("../guests/echo-shipped.wat"), &options).await;
    let proposal = Serving::start(include_str!("../guests/echo-proposal.wat"), &options).await;
    for (dialect, serving) in [("shipped", shipped), ("proposal", proposal)] {
        let Some(folder) = dialling_suite(&format!("server-{dialect}"), dialect, &serving.address).await else {
            return;
        };
        judge(&folder, dialect);
        let (_, log) = serving.interrupt().await;
        assert!(log.is_empty(), "{dialect}: {log}");
    }
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_the_core_that_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let endpoint = core();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                // The suite judges what happens here; how a case ends is its business.
                if let Ok(incoming) = endpoint.accept_over(tcp, Bytes::new(), false).await
                    && let Ok(connection) = incoming.accept().await
                {
                    echo(connection).await;
                }
            });
        }
    });
    let Some(folder) = dialling_suite("core-server", "core", &address).await else { return };
    judge(&folder, "core");
    server.abort();
}

/// The core with compression, for both roles.
fn core() -> Endpoint {
    let mut settings = Settings::default();
    for (name, value) in [("allow", "localhost"), ("compress", "true"), ("keepalive", "false")] {
        settings.set(name, value).unwrap();
    }
    Endpoint::new(settings).unwrap()
}

/// Sends back what comes until the connection ends.
async fn echo(connection: Connection) {
    loop {
        match connection.receive().await {
            Ok(Some(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if connection.send(&message).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// How long the suite may take.
const TAKES: Duration = Duration::from_secs(1800);

fn runs_all() -> bool {
    std::env::var_os("AUTOBAHN").is_some_and(|cases| cases == "all")
}

/// The suite as a server.
struct Listening {
    url: String,
    folder: PathBuf,
    /// It ends when this is dropped.
    suite: Child,
}

/// Starts the suite as a server; `None` if it is not installed.
async fn listening_suite(name: &str) -> Option<Listening> {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    let (mut suite, folder) = suite(name, "fuzzingserver", &[("url", url.as_str().into())])?;
    let suite = suite.spawn().unwrap();
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            // It does not report when it listens.
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), listening).await.expect("the suite starts");
    Some(Listening { url, folder, suite })
}

/// Runs the suite as a client of this server, and returns the folder of its report; `None` if it is not installed.
async fn dialling_suite(name: &str, agent: &str, address: &str) -> Option<PathBuf> {
    let servers = json!([{ "agent": agent, "url": format!("ws://{address}") }]);
    let (mut suite, folder) = suite(name, "fuzzingclient", &[("servers", servers)])?;
    let status = timeout(TAKES, suite.status()).await.expect("the suite ends").unwrap();
    assert!(status.success(), "{status}");
    Some(folder)
}

/// The suite in one of its modes, and the folder of its report; `None` if it is not installed.
fn suite(name: &str, mode: &str, more: &[(&str, Value)]) -> Option<(Command, PathBuf)> {
    let Some(wstest) = wstest() else {
        skipped("the Autobahn suite is missing; `scripts/wstest` installs it, or name its `wstest` in $WSTEST");
        return None;
    };
    // The pages of the report are kept for people to read.
    let folder = target().join("autobahn").join(name);
    // It is not there the first time.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let parts = (1..=5).map(|part| format!("12.{part}")).chain((1..=7).map(|part| format!("13.{part}")));
    let long: Vec<_> = parts.flat_map(|part| LONG.map(|case| format!("{part}.{case}"))).collect();
    let mut spec = json!({
        "outdir": folder.join("reports"), "cases": ["*"],
        "exclude-cases": if runs_all() { Vec::new() } else { long }, "exclude-agent-cases": {}, "options": { "failByDrop": false },
    });
    for (key, value) in more {
        spec[*key] = value.clone();
    }
    std::fs::write(folder.join("spec.json"), spec.to_string()).unwrap();
    let mut suite = Command::new(&wstest);
    suite.args(["-u", "0", "-m", mode, "-s", "spec.json"]).current_dir(&folder);
    suite.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Some((suite, folder))
}

/// The path of the suite: from the environment, from `scripts/wstest`, or from `PATH`.
fn wstest() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WSTEST").map(PathBuf::from) {
        assert!(
            named.is_file(),
            "$WSTEST names {}, and there is no such file: unset it, or correct it",
            named.display()
        );
        return Some(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(target().join("wstest")).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("wstest")).find(|file| file.is_file())
}

/// Prints the outcomes by section, and fails if a case did not pass strictly.
fn judge(folder: &Path, agent: &str) {
    let index = std::fs::read_to_string(folder.join("reports/index.json")).unwrap();
    let report: Value = serde_json::from_str(&index).unwrap();
    let cases = report[agent].as_object().expect("the report has our agent");
    let mut sections: BTreeMap<u32, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut failed = Vec::new();
    for (case, result) in cases {
        let outcome = |kind: &str| result[kind].as_str().expect("a case has an outcome");
        let section = case.split('.').next().unwrap().parse().unwrap();
        *sections.entry(section).or_default().entry(outcome("behavior")).or_default() += 1;
        if ["behavior", "behaviorClose"].iter().any(|kind| !matches!(outcome(kind), "OK" | "INFORMATIONAL")) {
            failed.push(format!("{case}: {} ({})", outcome("behavior"), outcome("behaviorClose")));
        }
    }
    println!("{agent}: {} cases, {}", cases.len(), folder.join("reports/index.html").display());
    sections.iter().for_each(|(section, outcomes)| println!("  section {section}: {outcomes:?}"));
    assert_eq!(cases.len(), if runs_all() { ALL } else { SHORT }, "the suite ran other cases");
    assert!(failed.is_empty(), "not passed: {failed:?}");
}
