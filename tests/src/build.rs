//! Guests that a test writes and builds, as their authors do.

use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Builds a guest whose WIT is in `folder`/wit for wasm32-wasip2, with the versions of this workspace. Its
/// name is its own among all tests, since they share what is compiled.
pub async fn build_guest(name: &str, folder: &Path, source: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in the workspace");
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace has a manifest");
    let wit_bindgen = workspace.lines().find(|line| line.starts_with("wit-bindgen = ")).expect("it names wit-bindgen");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\n{wit_bindgen}\n\n[workspace]\n"
    );
    std::fs::create_dir_all(folder.join("src")).expect("the folder can be written");
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("the manifest can be written");
    std::fs::write(folder.join("src/lib.rs"), source).expect("the source can be written");
    // What the workspace has locked and fetched is enough: cargo drops what the guest does not need.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the workspace has a lock file");
    let target = crate::program::target().join("test-guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--target", "wasm32-wasip2", "--target-dir"]).arg(&target);
    let output = tokio::time::timeout(std::time::Duration::from_secs(300), cargo.current_dir(folder).output()).await;
    let output = output.expect("a small guest builds in minutes").expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/debug").join(name.replace('-', "_")).with_extension("wasm")
}
