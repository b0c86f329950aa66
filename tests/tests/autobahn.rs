//! The Autobahn suite against guests, as clients and as servers: sections 1 to 7, 9 and 10, strictly.
//! Sections 12 and 13 cover compression, which the provider does not offer.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tests::{Serving, guest_path, program, skipped, target};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    time::{sleep, timeout},
};

const SECTIONS: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_a_guest_that_dials() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    let Some((mut suite, folder)) = suite("client", "fuzzingserver", &[("url", url.as_str().into())]) else { return };
    let _suite = suite.spawn().unwrap();
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            // It does not report when it listens.
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), listening).await.expect("the suite starts");

    let mut guest = program();
    guest.args(["run", "--allow", "localhost"]).arg(guest_path("autobahn")).args(["--", &url, "guest"]);
    let output = timeout(TAKES, guest.output()).await.expect("the suite takes seconds").unwrap();
    assert!(output.status.success(), "{output:?}");
    judge(&folder, "guest");
}

#[tokio::test]
async fn every_case_of_the_autobahn_suite_is_passed_strictly_by_modules_that_are_served() {
    let shipped = Serving::start(include_str!("../guests/echo-shipped.wat"), &[]).await;
    let proposal = Serving::start(include_str!("../guests/echo-proposal.wat"), &[]).await;
    let servers = serde_json::json!([
        { "agent": "shipped", "url": format!("ws://{}", shipped.address) },
        { "agent": "proposal", "url": format!("ws://{}", proposal.address) },
    ]);
    let Some((mut suite, folder)) = suite("server", "fuzzingclient", &[("servers", servers)]) else { return };
    let status = timeout(TAKES, suite.status()).await.expect("the suite takes seconds").unwrap();
    assert!(status.success(), "{status}");
    for (dialect, serving) in [("shipped", shipped), ("proposal", proposal)] {
        judge(&folder, dialect);
        let (_, log) = serving.interrupt().await;
        assert!(log.is_empty(), "{dialect}: {log}");
    }
}

/// How long the suite may take.
const TAKES: Duration = Duration::from_secs(600);

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
    let mut spec = serde_json::json!({
        "outdir": folder.join("reports"), "cases": SECTIONS,
        "exclude-cases": [], "exclude-agent-cases": {}, "options": { "failByDrop": false },
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
    assert!(cases.len() > 290, "the suite ran {} cases", cases.len());
    assert!(failed.is_empty(), "not passed: {failed:?}");
}
