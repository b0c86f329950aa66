//! Stores in a file when the disk is full and when the program is killed: a call that returned `ok` is on disk.

use super::*;
use std::{path::Path, process::Output};
use tempfile::TempDir;
use tests::{Answered, Serving, skipped};
use tokio::process::Command;

/// A guest that inserts a document for `/i`, whose answer is the document with its id, and finds all for `/f`. A call
/// that fails is answered with its status, in JSON. Each document has so many bytes of text.
fn inserting(size: usize) -> String {
    let document = format!(r#"{{\"a\":\"{}\"}}"#, "x".repeat(size));
    let length: String = (size as u32 + 8).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let more = r#"(import "primate" "storeImport" (func $import (result i32)))
        (import "primate" "storeInsert" (func $insert (param i32) (result i32)))
        (import "primate" "storeFind" (func $find (param i32) (result i32)))
        (data (i32.const 3000) "\06\00\00\00things") (data (i32.const 3100) "\02\00\00\00{}")
        (func $ask (param $from i32) (param $length i32) (call $send (local.get $from) (local.get $length)))
        (func $said (param $status i32)
            (i32.store (i32.const 100000) (i32.const 1))
            (if (local.get $status)
                (then
                    (i32.store (i32.const 100004) (i32.const 1))
                    (i32.store8 (i32.const 100008) (i32.add (i32.const 48) (local.get $status)))
                    (call $send (i32.const 100000) (i32.const 9)))
                (else
                    (call $receive (i32.const 100004) (call $length))
                    (call $send (i32.const 100000) (i32.add (call $length) (i32.const 4))))))"#;
    let more = format!(r#"{more} (data (i32.const 4000) "{length}{document}")"#);
    // The first letter of the path follows `http://here.test/`, and that its length.
    let send = "(local $status i32)
        (call $ask (i32.const 3000) (i32.const 10))
        (local.set $status (call $import))
        (if (local.get $status) (then (call $said (local.get $status)) (return)))
        (if (i32.eq (i32.load8_u (i32.const 1049)) (i32.const 0x69))
            (then
                (call $ask (i32.const 4000) (i32.const {document}))
                (call $said (call $insert (i32.const 0))))
            (else
                (call $ask (i32.const 3100) (i32.const 6))
                (call $said (call $find (i32.const 0)))))";
    let send = send.replace("{document}", &(size + 12).to_string());
    guest_with(&more, &[("sendResponse", &send)])
}

/// The id of the document that was inserted, or the status.
fn inserted(answered: &Answered) -> Result<String, i64> {
    assert_eq!(answered.status, 200, "{answered:?}");
    let answer: serde_json::Value = serde_json::from_str(answered.text()).unwrap();
    match answer["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(answer.as_i64().unwrap()),
    }
}

async fn found(serving: &Serving) -> Vec<String> {
    let answered = serving.ask("GET", "/f", "", "").await;
    let documents: Vec<serde_json::Value> = serde_json::from_str(answered.text()).unwrap();
    documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn confirmed_writes_to_a_store_survive_when_the_program_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stores");
    let options = ["--store", file.to_str().unwrap(), "--instances", "2"];
    let mut kept: Vec<String> = Vec::new();
    for round in 0..5 {
        let serving = Serving::start(inserting(1), &options).await;
        let there = found(&serving).await;
        assert!(kept.iter().all(|id| there.contains(id)), "round {round}: {} of {}", there.len(), kept.len());
        // Inserts in progress when the program was killed may be there as well.
        kept = there;
        for _ in 0..10 {
            kept.push(inserted(&serving.ask("GET", "/i", "", "").await).unwrap());
        }
        // More inserts are in progress while it is killed.
        let ask = async {
            loop {
                match serving.try_ask("/i").await {
                    Some(answered) => kept.push(inserted(&answered).unwrap()),
                    None => return,
                }
            }
        };
        let kill = async {
            tokio::time::sleep(std::time::Duration::from_millis(40 * round)).await;
            let killed = Command::new("kill").args(["-KILL", &serving.process().to_string()]).status().await;
            assert!(killed.unwrap().success());
        };
        soon(async { tokio::join!(ask, kill) }).await;
    }
    let serving = Serving::start(inserting(1), &options).await;
    let there = found(&serving).await;
    assert!(kept.iter().all(|id| there.contains(id)), "{} of {}", there.len(), kept.len());
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.is_empty(), "{status}: {log}");
}

/// Runs a program with a file system of 8 MiB at a folder, which nobody else sees.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=8m small "$0" && exec "$@""#;

async fn unshare(folder: &Path, user: bool) -> std::io::Result<Output> {
    let flags = if user { "-rm" } else { "-m" };
    Command::new("unshare").args([flags, "sh", "-c", ON_A_SMALL_DISK]).arg(folder).arg("true").output().await
}

#[tokio::test]
async fn a_full_disk_fails_only_the_calls_that_need_space() {
    let folder = TempDir::new().unwrap();
    let mut wrapper = None;
    for flags in ["-m", "-rm"] {
        if unshare(folder.path(), flags == "-rm").await.is_ok_and(|output| output.status.success()) {
            wrapper =
                wrapper.or(Some(["unshare", flags, "sh", "-c", ON_A_SMALL_DISK, folder.path().to_str().unwrap()]));
        }
    }
    let Some(wrapper) = wrapper else { return skipped("no file system can be mounted here, not even in a namespace") };
    let file = folder.path().join("stores");
    let serving = Serving::start_in(&wrapper, inserting(5000), &["--store", file.to_str().unwrap()]).await;
    let mut kept = vec![inserted(&serving.ask("GET", "/i", "", "").await).unwrap()];
    // The program's own view of the folder.
    let seen = format!("/proc/{}/root{}/filler", serving.process(), folder.path().display());
    for _ in 0..3 {
        // It fails when the disk is full.
        assert!(std::fs::write(&seen, vec![0; 16 << 20]).is_err());
        let mut failures = 0;
        for _ in 0..2000 {
            match inserted(&serving.ask("GET", "/i", "", "").await) {
                Ok(id) => kept.push(id),
                Err(status) => {
                    assert_eq!(status, 3, "the host failed");
                    failures += 1;
                    if failures == 3 {
                        break;
                    }
                }
            }
        }
        assert_eq!(failures, 3, "the disk is never full: {} documents", kept.len());
        // With free space again the same program continues, and nothing is lost.
        std::fs::remove_file(&seen).unwrap();
        kept.push(inserted(&serving.ask("GET", "/i", "", "").await).unwrap());
        assert_eq!(found(&serving).await, kept);
    }
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.contains("a store's disk failed"), "{status}: {log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_limit_on_the_size_of_files_does_not_end_the_program() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("stores");
    // Blocks of 512 bytes, or of 1024 with some shells.
    let limited = ["sh", "-c", r#"ulimit -S -f 6000 && exec "$0" "$@""#];
    let serving = Serving::start_in(&limited, inserting(20_000), &["--store", file.to_str().unwrap()]).await;
    let mut kept = Vec::new();
    let status = loop {
        match inserted(&serving.ask("GET", "/i", "", "").await) {
            Ok(id) => kept.push(id),
            Err(status) => break status,
        }
        assert!(kept.len() < 1000, "the limit is never met");
    };
    assert_eq!(status, 3, "the host failed");
    assert_eq!(found(&serving).await, kept);
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.contains("a store's disk failed"), "{status}: {log}");
}
