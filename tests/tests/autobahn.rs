//! The Autobahn suite, strictly, in four configurations: a guest that dials, modules that are served, and both roles of the
//! core without Wasm. With `AUTOBAHN=all`, every case runs. Otherwise most cases of sections 12 and 13 are left out: they
//! repeat the same traffic with messages of another size.
//!
//! A process of the suite runs one group of cases, and its end frees its memory. At their peak, sections 1 to 10 take
//! 300 MiB, a part of section 12 or 13 takes 1.2 GiB, the whole section 13 takes 2.4 GiB, and the cases that run by default
//! take more than 1.8 GiB.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    iter,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tests::{Serving, guest_path, program, skipped, target};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Message, Settings};

/// How long one process of the suite may take.
const TAKES: Duration = Duration::from_secs(1800);

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_a_guest_that_dials() {
    let Some(mut run) = Run::new("client", "guest") else { return };
    for group in groups() {
        let (url, _suite) = run.listen(group).await;
        let mut guest = program();
        guest.args(["run", "--allow", "localhost", "--compress", "true"]).arg(guest_path("autobahn"));
        guest.args(["--", &url, "guest"]);
        let output = timeout(TAKES, guest.output()).await.expect("the suite ends").unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    run.judge();
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_the_core_that_dials() {
    let Some(mut run) = Run::new("core-client", "core") else { return };
    let endpoint = core();
    for group in groups() {
        let (url, _suite) = run.listen(group).await;
        let dial = async |path: &str| {
            let mut config = ConnectConfig::new(format!("{url}/{path}"));
            (config.max_message_size, config.keepalive) = (Some(32 << 20), Some(false));
            endpoint.connect(config).await
        };
        let cases = async {
            let count = dial("getCaseCount").await?.receive().await?;
            let Some(Message::Text(count)) = count else {
                panic!("the suite says how many cases there are: {count:?}")
            };
            for case in 1..=count.parse().expect("it is a number") {
                // The suite judges what happens here; how a case ends is its business.
                echo(dial(&format!("runCase?case={case}&agent=core")).await?).await;
            }
            echo(dial("updateReports?agent=core").await?).await;
            Ok::<_, Error>(())
        };
        timeout(TAKES, cases).await.expect("the suite ends").unwrap();
    }
    run.judge();
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_a_module_of_the_shipped_dialect_that_is_served() {
    serve("shipped", include_str!("../guests/echo-shipped.wat")).await;
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_a_module_of_the_proposed_dialect_that_is_served() {
    serve("proposal", include_str!("../guests/echo-proposal.wat")).await;
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_the_core_that_accepts() {
    let Some(mut run) = Run::new("core-server", "core") else { return };
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
    run.dial(&address).await;
    run.judge();
    server.abort();
}

/// Serves a module to the suite.
async fn serve(dialect: &str, module: &str) {
    let Some(mut run) = Run::new(&format!("server-{dialect}"), dialect) else { return };
    let serving = Serving::start(module, &["--compress", "true"]).await;
    run.dial(&serving.address).await;
    run.judge();
    let (_, log) = serving.interrupt().await;
    assert!(log.is_empty(), "{dialect}: {log}");
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

fn runs_all() -> bool {
    std::env::var_os("AUTOBAHN").is_some_and(|cases| cases == "all")
}

/// The patterns of the cases that one process of the suite runs, for each process.
fn groups() -> Vec<Vec<String>> {
    let basic = (1..=10).map(|section| format!("{section}.*"));
    let deflate = (1..=5).map(|part| format!("12.{part}")).chain((1..=7).map(|part| format!("13.{part}")));
    if runs_all() {
        return iter::once(basic.collect()).chain(deflate.map(|part| vec![format!("{part}.*")])).collect();
    }
    // Case 5 and the later ones of each part send a thousand messages of 4 KiB to 128 KiB, which takes long.
    let short = deflate.flat_map(|part| (1..=4).map(move |case| format!("{part}.{case}")));
    vec![basic.chain(short).collect()]
}

/// A run of the suite in one configuration.
struct Run<'a> {
    wstest: PathBuf,
    agent: &'a str,
    /// The pages of the report are kept there for people to read.
    folder: PathBuf,
    /// The reports of the groups.
    reports: Vec<PathBuf>,
    started: Instant,
}

impl<'a> Run<'a> {
    /// `None` if the suite is not installed.
    fn new(name: &str, agent: &'a str) -> Option<Run<'a>> {
        let Some(wstest) = wstest() else {
            skipped("the Autobahn suite is missing; `scripts/wstest` installs it, or name its `wstest` in $WSTEST");
            return None;
        };
        let folder = target().join("autobahn").join(name);
        // It is not there the first time.
        let _ = std::fs::remove_dir_all(&folder);
        Some(Run { wstest, agent, folder, reports: Vec::new(), started: Instant::now() })
    }

    /// Starts the suite as a server for a group of cases. Returns its URL, and its process, which ends when it is dropped.
    async fn listen(&mut self, group: Vec<String>) -> (String, Child) {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let url = format!("ws://127.0.0.1:{port}");
        let suite = self.suite("fuzzingserver", group, "url", url.as_str().into()).spawn().unwrap();
        let listening = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                // It does not report when it listens.
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), listening).await.expect("the suite starts");
        (url, suite)
    }

    /// Runs the suite as a client of this server.
    async fn dial(&mut self, address: &str) {
        let servers = json!([{ "agent": self.agent, "url": format!("ws://{address}") }]);
        for group in groups() {
            let mut suite = self.suite("fuzzingclient", group, "servers", servers.clone());
            let status = timeout(TAKES, suite.status()).await.expect("the suite ends").unwrap();
            assert!(status.success(), "{status}");
        }
    }

    /// The suite in one of its modes, with the setting that this mode needs.
    fn suite(&mut self, mode: &str, group: Vec<String>, key: &str, value: Value) -> Command {
        let folder = self.folder.join((self.reports.len() + 1).to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let reports = folder.join("reports");
        let spec = json!({
            "outdir": reports, "cases": group, "exclude-cases": [], "exclude-agent-cases": {},
            "options": { "failByDrop": false }, key: value,
        });
        std::fs::write(folder.join("spec.json"), spec.to_string()).unwrap();
        self.reports.push(reports);
        let mut suite = Command::new(&self.wstest);
        suite.args(["-u", "0", "-m", mode, "-s", "spec.json"]).current_dir(&folder);
        suite.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        suite
    }

    /// Prints the outcomes by section, and fails if a case did not pass strictly.
    fn judge(self) {
        let read = |file: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap();
        let mut sections: BTreeMap<u32, BTreeMap<String, u32>> = BTreeMap::new();
        let (mut count, mut informational, mut failed) = (0, String::new(), Vec::new());
        for reports in &self.reports {
            let report = read(reports.join("index.json"));
            for (case, result) in report[self.agent].as_object().expect("the report has our agent") {
                let outcome = |kind: &str| result[kind].as_str().expect("a case has an outcome");
                let section = case.split('.').next().unwrap().parse().unwrap();
                *sections.entry(section).or_default().entry(outcome("behavior").to_owned()).or_default() += 1;
                count += 1;
                let outcomes = [outcome("behavior"), outcome("behaviorClose")];
                if outcomes.iter().any(|outcome| !matches!(*outcome, "OK" | "INFORMATIONAL")) {
                    failed.push(format!("{case}: {outcomes:?}"));
                } else if outcomes.contains(&"INFORMATIONAL") {
                    let details = read(reports.join(result["reportfile"].as_str().expect("a case has a report")));
                    let reason = details["result"].as_str().expect("a case has a result");
                    writeln!(informational, "  {case} is informational: {reason}").unwrap();
                }
            }
        }
        let (folder, seconds) = (self.folder.display(), self.started.elapsed().as_secs());
        let mut table = format!("{}: {count} cases in {seconds} s, {folder}\n", self.agent);
        for (section, outcomes) in sections {
            writeln!(table, "  section {section}: {outcomes:?}").unwrap();
        }
        // In one piece: other runs print at the same time.
        print!("{table}{informational}");
        assert_eq!(count, if runs_all() { 517 } else { 349 }, "the suite ran other cases");
        assert!(failed.is_empty(), "not passed: {failed:?}");
    }
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
