//! The examples are complete projects: each contains the interface and a lock file, and builds from a copy in an empty folder.
//! `scripts/languages` builds the copies of those that are not in Rust.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use tests::{build_project, copy_project, skipped, soon};
use tokio::process::Command;

/// The examples and template guests, with the target of those in Rust.
const PROJECTS: [(&str, Option<&str>); 10] = [
    ("crates/chat-room", Some("wasm32-unknown-unknown")),
    ("crates/guest-example", Some("wasm32-wasip2")),
    ("crates/ws-cat", Some("wasm32-wasip2")),
    ("examples/c", None),
    ("examples/follower/javascript", None),
    ("examples/follower/rust", Some("wasm32-wasip2")),
    ("examples/go", None),
    ("examples/javascript", None),
    ("examples/python", None),
    ("examples/rust", Some("wasm32-wasip2")),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files in a folder, with links as links, except files that were built or installed there.
fn all(folder: &Path) -> Vec<PathBuf> {
    let copy = tempfile::tempdir().unwrap();
    copy_project(folder, copy.path());
    let (mut found, mut folders) = (Vec::new(), vec![copy.path().to_owned()]);
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            found.push(folder.join(path.strip_prefix(copy.path()).unwrap()));
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found
}

/// The names and the bytes of the WIT files in a folder.
fn wit_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wit = paths.filter(|path| path.extension().is_some_and(|extension| extension == "wit"));
    wit.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_example_is_in_the_list() {
    let manifests = ["Cargo.toml", "Makefile", "package.json"];
    let found: BTreeSet<_> = all(&root().join("examples"))
        .into_iter()
        .filter(|path| manifests.iter().any(|manifest| path.ends_with(manifest)))
        .map(|path| path.parent().unwrap().strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let listed = PROJECTS.iter().map(|(folder, _)| (*folder).to_owned());
    assert_eq!(found, listed.filter(|folder| folder.starts_with("examples/")).collect());
}

#[test]
fn an_example_needs_nothing_outside_its_folder() {
    for (folder, _) in PROJECTS {
        for path in all(&root().join(folder)) {
            assert!(!path.is_symlink(), "{} leads elsewhere", path.display());
            let may = ["md", "lock"].iter().any(|extension| path.extension().is_some_and(|is| is == *extension));
            if path.is_dir() || may || path.ends_with("wit/deps.toml") {
                continue;
            }
            // Built files may be there as well.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let inherits = path.ends_with("Cargo.toml") && text.contains("workspace = true");
            assert!(!text.contains("../") && !inherits, "{} needs what is outside of {folder}", path.display());
        }
    }
}

#[tokio::test]
async fn an_example_carries_the_interface_and_its_lock() {
    let interface = wit_files(&root().join("wit"));
    let mut checked = true;
    for (folder, _) in PROJECTS.iter().filter(|(folder, _)| *folder != "crates/chat-room") {
        let wit = root().join(folder).join("wit");
        let same = wit_files(&wit.join("deps/websocket")) == interface;
        assert!(same, "{folder}/wit/deps/websocket is not what wit/ is: run `make wit-deps`");
        let manifest = fs::read_to_string(wit.join("deps.toml")).unwrap();
        let line = manifest.lines().find_map(|line| line.strip_prefix("websocket = ")).unwrap();
        assert_eq!(
            wit.join(line.trim_matches('"')).canonicalize().unwrap(),
            root().join("wit").canonicalize().unwrap()
        );
        let lock = fs::read_to_string(wit.join("deps.lock")).unwrap();

        // Outside the repository, the files that the lock names are already there.
        let copy = tempfile::tempdir().unwrap();
        copy_project(&root().join(folder), copy.path());
        let mut command = Command::new("wit-deps");
        command.args(["lock", "--check"]).current_dir(copy.path()).env("XDG_CACHE_HOME", copy.path().join("cache"));
        match soon(command.output()).await {
            Ok(output) => assert!(output.status.success(), "{folder}: run `make wit-deps`: {output:?}"),
            Err(error) => checked = error.kind() != std::io::ErrorKind::NotFound,
        }
        assert_eq!(fs::read_to_string(copy.path().join("wit/deps.lock")).unwrap(), lock);
    }
    if !checked {
        skipped("wit-deps is not installed (cargo install --locked wit-deps-cli@0.6.0)");
    }
}

#[tokio::test]
async fn an_example_in_rust_builds_from_a_copy_with_its_own_lock() {
    let root = root();
    for (folder, triple) in PROJECTS {
        let Some(triple) = triple else { continue };
        let copy = tempfile::tempdir().unwrap();
        copy_project(&root.join(folder), copy.path());
        if folder == "crates/chat-room" {
            // As its README says, for as long as the crate is not on crates.io.
            let payload = root.join("crates/payload");
            let config = format!("[patch.crates-io]\nwebsocket-payload-abi.path = '{}'\n", payload.display());
            fs::create_dir(copy.path().join(".cargo")).unwrap();
            fs::write(copy.path().join(".cargo/config.toml"), config).unwrap();
        }

        // Its versions are the workspace's: cargo drops what it does not need. WRITE_LOCKS=1 writes them.
        let (kept, locked) = (root.join(folder).join("Cargo.lock"), copy.path().join("Cargo.lock"));
        fs::copy(root.join("Cargo.lock"), &locked).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", triple])
            .current_dir(copy.path());
        let output = soon(cargo.output()).await.unwrap();
        assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
        if std::env::var_os("WRITE_LOCKS").is_some() {
            fs::copy(&locked, &kept).unwrap();
        }
        let same = fs::read(&kept).is_ok_and(|kept| kept == fs::read(&locked).unwrap());
        assert!(same, "{folder}/Cargo.lock is not what the workspace's is: run `make example-locks`");

        let built = build_project(copy.path(), triple).await;
        let manifest = fs::read_to_string(copy.path().join("Cargo.toml")).unwrap();
        let name = manifest.split("name = \"").nth(1).unwrap().split('"').next().unwrap();
        let names = [name.to_owned(), name.replace('-', "_")];
        let wasm = names.iter().map(|name| built.join(name).with_extension("wasm")).find(|path| path.exists());
        assert!(wasm.is_some(), "{folder} builds nothing");

        let readme = [folder, folder.rsplit_once('/').unwrap().0].map(|folder| root.join(folder).join("README.md"));
        let readme = readme.iter().find_map(|readme| fs::read_to_string(readme).ok()).unwrap();
        let command = format!("cargo build --release --target {triple} --target-dir target");
        assert!(readme.contains(&command), "the README of {folder} says how it is built");
    }
}
