//! The documentation is correct: the README's commands and guest work, and the tables of settings match
//! the code.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use tests::{Behaviour, Running, Server, build_guest, program, run, soon};
use tokio::net::TcpListener;
use websocket_provider::{Concerns, SETTINGS};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The fenced blocks of a document in one language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    document.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    // The ports that the README uses may be taken here.
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let free = listeners.map(|listener| listener.local_addr().unwrap().port().to_string());
    let ci = read(".ci/run");
    let mut servers = Vec::new();
    let mut count = 0;
    for line in blocks(&read("README.md"), "sh").iter().flat_map(|block| block.lines()) {
        let line = line.replace("9001", &free[0]).replace("8080", &free[1]);
        let mut words = line.split('#').next().unwrap().split_whitespace();
        count += 1;
        match words.next().unwrap() {
            "make" => assert!(ci.contains(line.split('#').next().unwrap().trim()), "CI does not run {line:?}"),
            "target/debug/websocket-provider" => {
                let args: Vec<&str> = words.collect();
                if ["echo", "serve"].contains(&args[0]) {
                    let mut server = Running::start(&args);
                    server.line("listening on ").await;
                    servers.push(server);
                } else {
                    let output = soon(program().args(&args).current_dir(root()).output()).await.unwrap();
                    assert!(output.status.success(), "{line}: {output:?}");
                    assert!(!String::from_utf8_lossy(&output.stdout).contains("ERROR"), "{line}: {output:?}");
                }
            }
            other => panic!("this test cannot run {other:?} of the README"),
        }
    }
    assert!(count > 5, "the README has commands");
}

#[tokio::test]
async fn the_guest_of_the_readme_builds_and_talks() {
    let readme = read("README.md");
    let folder = tempfile::tempdir().unwrap();
    let source = &blocks(&readme, "rust")[0];
    assert!(blocks(&readme, "toml")[0].starts_with("websocket = "), "the manifest names the package");
    let deps = folder.path().join("wit/deps/websocket");
    std::fs::create_dir_all(&deps).unwrap();
    for file in ["types.wit", "client.wit"] {
        std::fs::copy(root().join("wit").join(file), deps.join(file)).unwrap();
    }
    std::fs::write(folder.path().join("wit/world.wit"), &blocks(&readme, "wit")[0]).unwrap();
    let guest = build_guest("readme-guest", folder.path(), source).await;
    let server = Server::start(Behaviour::Echo).await;
    let output = run(&["--allow", "localhost", "--env", &format!("WS_URL={}", server.url)], &guest).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Some(Message::Text(\"hello\"))\n", "{output:?}");
}

#[test]
fn the_contract_lists_every_setting_with_its_default() {
    let contract = read("wit/README.md");
    let table = contract.split("## Host settings").nth(1).unwrap();
    for setting in SETTINGS {
        let start = format!("| `{}` |", setting.name);
        let row = table.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("wit/README.md has no row for {}", setting.name));
        let default = setting.default.map_or("| none |".to_owned(), |default| format!("| `{default}` |"));
        assert!(row.contains(&default), "{row:?} should say {default}");
    }
    let rows = table.split("\n\n").find(|part| part.starts_with("| name |")).unwrap().lines().skip(2);
    let names: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(names, SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>(), "the rows of wit/README.md");
}

#[test]
fn every_promise_of_the_contract_has_a_test_of_its_name_and_every_such_test_a_promise() {
    let contract = read("wit/README.md");
    let mut promises = BTreeMap::<&str, BTreeSet<String>>::new();
    for row in
        contract.split("| promise |").skip(1).flat_map(|table| table.split("\n\n").next().unwrap().lines().skip(2))
    {
        let link = row.strip_prefix("| [`").and_then(|row| row.split_once("`](../"));
        let (promise, rest) = link.unwrap_or_else(|| panic!("this row names no test: {row}"));
        promises.entry(rest.split(')').next().unwrap()).or_default().insert(promise.replace('-', "_"));
    }
    assert_eq!(promises.len(), 6, "{promises:?}");
    for (file, promises) in promises {
        let source = read(file);
        let test =
            |item: &str| item.trim_start().strip_prefix("async fn ")?.split_once('(').map(|test| test.0.to_owned());
        let tests: BTreeSet<_> = source.split("#[tokio::test]").skip(1).filter_map(test).collect();
        assert_eq!(tests, promises, "the tests of {file}, and the promises of wit/README.md that lead to it");
        assert!(!source.contains("#[ignore"), "{file}");
    }
}

#[tokio::test]
async fn the_help_lists_every_setting_with_its_default() {
    let help = async |args: &[&str]| {
        let output = soon(program().args(args).arg("--help").output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (run, relay) = (help(&["run"]).await, help(&["watm", "relay"]).await);
    for setting in SETTINGS {
        // `run` accepts no connection.
        let help = if setting.concerns == Concerns::Accepted { &relay } else { &run };
        assert!(help.contains(&format!("--{} <{}>", setting.name, setting.value)), "{}", setting.name);
        assert!(setting.default.is_none_or(|default| help.contains(&format!("[default: {default}]"))));
    }
}

#[tokio::test]
async fn the_program_s_page_lists_every_option_of_serve_with_its_default() {
    let output = soon(program().args(["serve", "--help"]).output()).await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let page = read("crates/cli/README.md");
    let mut count = 0;
    for line in help.lines().filter_map(|line| line.trim_start().strip_prefix("--")) {
        let name = line.split_whitespace().next().unwrap();
        // These belong to every command, or are listed in the contract.
        if ["log-format", "help"].contains(&name) || SETTINGS.iter().any(|setting| setting.name == name) {
            continue;
        }
        let row = page.lines().find(|row| row.starts_with("| `--") && row.contains(&format!("`--{name}`")));
        let row = row.unwrap_or_else(|| panic!("crates/cli/README.md has no row for --{name}"));
        let shown = help.split(&format!("--{name} <")).nth(1).unwrap().split("\n      --").next().unwrap();
        let default = shown.split_once("[default: ").map(|(_, rest)| format!("`{}`", rest.split(']').next().unwrap()));
        assert!(row.contains(&format!("| {} |", default.as_deref().unwrap_or("none"))) || name == "config", "{row}");
        count += 1;
    }
    assert!(count >= 8, "{help}");
}
