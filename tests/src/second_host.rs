//! The second host, which runs the probe in Node: tests/second-host/README.md.

use crate::{guest_path, skipped, target};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The variable under which tests run on the second host: the folder of the probe in JavaScript.
pub const VARIABLE: &str = "SECOND_HOST";

fn folder() -> Option<OsString> {
    std::env::var_os(VARIABLE)
}

/// Fails a test that needs the program or a host in Rust, where the tests are to run on the second host.
pub fn must_not_run() {
    assert!(folder().is_none(), "this test is of the host in Rust alone");
}

/// A command line of the second host with these options; `None` where tests run on the program.
pub fn command(options: &[&str]) -> Option<Command> {
    let folder = folder()?;
    let mut command = node("host.mjs");
    command.args(options).arg(folder).kill_on_drop(true);
    Some(command)
}

/// Makes JavaScript of the probe; gives its folder, or `None` where something for it is missing.
pub async fn transpile() -> Option<PathBuf> {
    let installed = target().join("second-host");
    if !installed.join("node_modules/@bytecodealliance/jco-transpile").exists() {
        skipped("the second host is missing: scripts/peers installs it, and says what that needs");
        return None;
    }
    let folder = installed.join("probe");
    let mut transpile = node("transpile.mjs");
    let output = transpile.arg(guest_path("probe")).arg(&folder).stdin(Stdio::null()).output();
    let output = crate::soon(output).await.expect("node starts, since npm was there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("second-host").join(script));
    command.env("NODE_PATH", target().join("second-host/node_modules"));
    command
}
