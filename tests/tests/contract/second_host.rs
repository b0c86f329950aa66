//! The contract on the second host. One table lists every difference from the program.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};
use tests::{
    guest_path,
    second_host::{VARIABLE, transpile},
};
use tokio::{process::Command, time::timeout};

/// The tests of the table of differences: those that always fail, and those that fail at times.
fn differences() -> [BTreeSet<&'static str>; 2] {
    let (_, table) = include_str!("../../second-host/README.md").split_once("| test |").expect("there is a table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let (at_times, always): (Vec<_>, Vec<_>) = rows.partition(|(_, rest)| rest.starts_with(", at times"));
    [always, at_times].map(|rows| rows.into_iter().map(|(test, _)| test).collect())
}

/// Runs the tests of these names on the second host, or all but this one; gives what passed, what failed, and the output.
async fn on_second_host(probe: &Path, names: &[String]) -> (BTreeSet<String>, BTreeSet<String>, String) {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--skip", "second_host"]).args(names).env(VARIABLE, probe).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_secs(300), tests.output()).await.expect("this takes a minute").unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let ended = |how: &str| {
        let named =
            |line: &'_ str| line.strip_prefix("test ")?.strip_suffix(how)?.rsplit(':').next().map(str::to_owned);
        output.lines().filter_map(named).collect::<BTreeSet<_>>()
    };
    (ended(" ... ok"), ended(" ... FAILED"), output)
}

#[tokio::test]
async fn second_host() {
    let Some(probe) = transpile(&guest_path("probe")).await else { return };
    let (passed, failed, _) = on_second_host(&probe, &[]).await;
    let [always, at_times] = differences();
    let unknown: Vec<_> = failed
        .iter()
        .filter(|test| !always.contains(test.as_str()) && !at_times.contains(test.as_str()))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        // Node is slow on a busy machine: a test that passes when it runs alone is not a difference.
        let (_, again, output) = on_second_host(&probe, &unknown).await;
        let unlisted: Vec<_> = unknown.iter().filter(|test| again.contains(*test)).collect();
        assert!(
            unlisted.is_empty(),
            "differences that tests/second-host/README.md does not list: {unlisted:?}\n{output}"
        );
    }
    let gone: Vec<_> = always.iter().filter(|test| !failed.contains(**test)).collect();
    assert!(gone.is_empty(), "these listed differences do not exist: {gone:?}");
    assert!(passed.len() > failed.len(), "{} of the promises hold, and {} do not", passed.len(), failed.len());
}
