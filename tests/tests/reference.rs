//! docs/reference.md matches the code: the program's help, the settings, the errors of the WIT package, fixed limits.
//! `make reference` writes it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{fmt::Write, path::Path};
use tests::{program, soon};
use websocket_provider::{SETTINGS, Setting};
use wit_parser::{Resolve, TypeDefKind};

const COMMANDS: [&str; 10] =
    ["", "run", "serve", "watm", "watm dial", "watm listen", "watm relay", "echo", "inspect", "compile"];

async fn help(command: &str) -> String {
    let output = soon(program().args(command.split_whitespace()).arg("--help").output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The help of a command without its settings, which are in the table of settings.
fn without_settings(help: &str) -> &str {
    help.split("\nSettings:\n").next().unwrap().trim_end()
}

async fn commands(page: &mut String) {
    writeln!(page, "## Commands and flags\n").unwrap();
    writeln!(
        page,
        "The table of settings lists the flags for settings. A command accepts the settings for the connections that it opens."
    )
    .unwrap();
    let program = help("").await;
    for command in COMMANDS {
        let title = format!("websocket-provider {command}");
        let help = help(command).await;
        writeln!(page, "\n### `{}`\n\n```text\n{}\n```", title.trim_end(), without_settings(&help)).unwrap();
    }
    for line in program.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().unwrap();
        assert!(command == "help" || COMMANDS.contains(&command), "the reference lacks {command}");
    }
}

fn settings(page: &mut String) {
    writeln!(
        page,
        "\n## Settings\n\nEach setting is a flag (`--receive-wait 1s`) and a key in the TOML file of `--config`. The column `concerns` names \
         the connections that the setting applies to: those that this host dials, those that it accepts, both, or only those \
         that guests dial.\n"
    )
    .unwrap();
    writeln!(page, "| name | value | default | concerns | what |\n| --- | --- | --- | --- | --- |").unwrap();
    for setting in SETTINGS {
        let default = setting.default.map_or("none".to_owned(), |default| format!("`{default}`"));
        let repeatable = if setting.repeatable { "; may be repeated" } else { "" };
        let Setting { name, value, concerns, help, .. } = setting;
        writeln!(page, "| `{name}` | {value} | {default} | {concerns} | {help}{repeatable} |").unwrap();
    }
}

fn errors(page: &mut String) {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_path(wit).unwrap();
    let types = resolve.packages[package].interfaces["types"];
    let error = resolve.interfaces[types].types["websocket-error"];
    let TypeDefKind::Variant(variant) = &resolve.types[error].kind else { panic!("it is a variant") };
    writeln!(page, "\n## Errors\n\n| `websocket-error` | text | when |\n| --- | --- | --- |").unwrap();
    for case in &variant.cases {
        let when = case.docs.contents.as_deref().expect("each case is documented").trim().replace('\n', " ");
        let text = if case.ty.is_some() { "yes" } else { "no" };
        writeln!(page, "| `{}` | {text} | {when} |", case.name).unwrap();
    }
}

/// The constants that limit what guests and peers can do, by file.
const LIMITS: [(&str, &[&str]); 19] = [
    ("connection/src/open/request.rs", &["MAX_REQUEST"]),
    ("connection/src/settings/rule.rs", &["MAX_NAME"]),
    ("connection/src/open/refusal.rs", &["MAX_BODY", "MAX_RAW_BODY", "BODY_WAIT"]),
    ("connection/src/open/dial.rs", &["ATTEMPT_DELAY"]),
    ("connection/src/settings/files.rs", &["PIPE_WAIT"]),
    ("connection/src/open/tls/files.rs", &["MAX_PEM"]),
    ("protocol/src/handshake/mod.rs", &["MAX_HEAD"]),
    ("protocol/src/frame/mod.rs", &["MAX_CONTROL_PAYLOAD"]),
    ("protocol/src/connection/pacing.rs", &["OUTPUT_BOUND", "BATCH_DELAY"]),
    ("protocol/src/connection/inbox.rs", &["MAX_UNREAD_CONTROLS"]),
    ("protocol/src/connection/parts.rs", &["STREAM_BUFFER", "STREAM_FRAGMENT"]),
    ("protocol/src/connection/mod.rs", &["GRACE_PERIOD"]),
    ("cli/src/config.rs", &["MAX_CONFIG"]),
    ("cli/src/guest.rs", &["MAX_GUEST"]),
    ("server/src/http1.rs", &["CLIENT_WAIT", "ANSWER_WAIT"]),
    ("server/src/listener.rs", &["STOP_WAIT", "MAX_CLIENTS"]),
    ("abi-bridge/src/server.rs", &["CALLBACKS_OF_REQUEST", "BODY_WAIT"]),
    ("abi-bridge/src/sessions.rs", &["MAX_SESSIONS", "MAX_DATA"]),
    ("abi-bridge/src/stores/mod.rs", &["MAX_DOCUMENT", "MAX_NAME"]),
];

fn limits(page: &mut String) {
    writeln!(page, "\n## Fixed limits\n\n| limit | value | what |\n| --- | --- | --- |").unwrap();
    for (file, names) in LIMITS {
        let source = read(&format!("crates/{file}"));
        let lines: Vec<&str> = source.lines().collect();
        for name in names {
            let declaration = format!("const {name}: ");
            let at = lines.iter().position(|line| line.contains(&declaration));
            let at = at.unwrap_or_else(|| panic!("{file} has no constant {name}: LIMITS is out of date"));
            let value = lines[at].split_once(" = ").unwrap().1.trim_end_matches(';');
            let first = lines[..at].iter().rposition(|line| !line.starts_with("/// ")).map_or(0, |last| last + 1);
            let what: Vec<&str> = lines[first..at].iter().map(|line| line.trim_start_matches("/// ")).collect();
            let what = what.join(" ").replace(['[', ']'], "");
            let value = evaluated(value, what.to_lowercase().contains("bytes"));
            writeln!(page, "| [`{name}`](../crates/{file}) | {value} | {what} |").unwrap();
        }
    }
}

/// The value of a constant, which is a product of numbers or a duration, as display text.
fn evaluated(expression: &str, is_bytes: bool) -> String {
    let number = |text: &str| -> u64 {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number: {text}"))
    };
    for (function, unit) in [("from_secs(", "s"), ("from_millis(", "ms"), ("from_micros(", "µs")] {
        if let Some((_, value)) = expression.split_once(function) {
            return format!("{} {unit}", number(value));
        }
    }
    match expression.split(" * ").map(number).product::<u64>() {
        bytes if is_bytes && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if is_bytes && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes if is_bytes => format!("{bytes} bytes"),
        count => count.to_string(),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[tokio::test]
async fn the_reference_is_current() {
    let mut page =
        "# Reference\n\n`make reference` writes this page from the code: change the code, not this page. The [contract](../wit/README.md) says \
                    what the calls\nof the interface promise, and how to write a rule of `allow`.\n\n"
            .to_owned();
    commands(&mut page).await;
    settings(&mut page);
    errors(&mut page);
    limits(&mut page);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "docs/reference.md is not what the code says: run `make reference`");
}
