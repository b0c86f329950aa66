//! The page of the chat room in two tabs of a headless Chromium, which tests/peers/browser.cjs controls.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{path::PathBuf, time::Duration};
use tests::{Serving, core_guest, skipped, target};
use tokio::{process::Command, time::timeout};

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)));
    files.find(|file| file.is_file())
}

#[tokio::test]
async fn two_tabs_talk_and_see_each_other_leave() {
    let modules = target().join("peers/node_modules");
    if !modules.join("playwright-core").exists() {
        return skipped("playwright-core is missing: scripts/peers installs it, and says what that needs");
    }
    let Some(chromium) = chromium() else {
        return skipped("Chromium is missing: install it with the system's packages, such as apt-get install chromium");
    };
    let serving = Serving::start(core_guest("chat_room"), &[]).await;
    let url = format!("http://{}/", serving.address);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/browser.cjs");
    let mut node = Command::new("node");
    node.arg(script).arg(chromium).arg(url).env("NODE_PATH", modules).kill_on_drop(true);
    let output = timeout(Duration::from_secs(300), node.output()).await.expect("this takes seconds").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (status, log) = serving.interrupt().await;
    assert!(status.success(), "{log}");
}
