//! The second host, which runs the probe in Node: tests/second-host/README.md.

use crate::{skipped, target};
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

/// Fails a test that needs the program or a host in Rust, if the tests run on the second host.
pub fn must_not_run() {
    assert!(folder().is_none(), "this test needs the host in Rust");
}

/// A command line of the second host with these options; `None` where tests run on the program.
pub fn command(options: &[&str]) -> Option<Command> {
    folder().map(|folder| command_of(&PathBuf::from(folder), options))
}

/// A command line of the second host with a guest that [`transpile`] has made, and these options.
pub fn command_of(guest: &Path, options: &[&str]) -> Command {
    let mut command = node("host.mjs");
    command.args(options).arg(guest).kill_on_drop(true);
    command
}

/// Compiles a guest to JavaScript; returns its folder, or `None` if a tool is missing.
pub async fn transpile(guest: &Path) -> Option<PathBuf> {
    let installed = target().join("second-host");
    if !installed.join("node_modules/@bytecodealliance/jco-transpile").exists() {
        skipped("the second host is missing: scripts/peers installs it, and says what that needs");
        return None;
    }
    // Within the folder of the installed packages, so that its imports are found.
    let name: Vec<_> = guest.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    let folder = installed.join(name.join("-"));
    let output = node("transpile.mjs").arg(guest).arg(&folder).stdin(Stdio::null()).output();
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
