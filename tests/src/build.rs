//! Guests that a test builds in the way that their authors build them.

use crate::{program::target, skipped};
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
    // The workspace's lock file and downloads suffice: cargo drops packages that the guest does not need.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the workspace has a lock file");
    let target = target().join("test-guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--target", "wasm32-wasip2", "--target-dir"]).arg(&target);
    finish(cargo.current_dir(folder)).await;
    target.join("wasm32-wasip2/debug").join(name.replace('-', "_")).with_extension("wasm")
}

/// Builds the guest in AssemblyScript into this folder; `None` if its compiler is not installed.
pub async fn build_assembly_guest(into: &Path) -> Option<PathBuf> {
    let compiler = target().join("assembly/node_modules/assemblyscript/bin/asc.js");
    if !compiler.exists() {
        skipped("AssemblyScript is missing: scripts/peers installs it, and says what that needs");
        return None;
    }
    let file = into.join("assembly.wasm");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/assembly");
    let mut node = Command::new("node");
    finish(node.arg(compiler).arg("--outFile").arg(&file).current_dir(folder)).await;
    Some(file)
}

/// Copies a project without its build output.
pub fn copy_project(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy can be made");
    for entry in std::fs::read_dir(from).expect("the project can be read") {
        let (path, copy) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("it can be read");
        let built = ["target", "node_modules", "bindings", ".venv"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !path.is_symlink() {
            if !built {
                copy_project(&path, &copy);
            }
        } else {
            // A link is copied as a link, as with `cp -R`.
            match std::fs::read_link(&path) {
                Ok(link) => std::os::unix::fs::symlink(link, &copy).expect("the link can be copied"),
                Err(_) => std::fs::copy(&path, &copy).map(drop).expect("the file can be copied"),
            }
        }
    }
}

/// Builds the Rust project in a folder for this target, without its tests and as its lock file says; gives the folder of
/// what was built.
pub async fn build_project(folder: &Path, triple: &str) -> PathBuf {
    let target = target().join("test-guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--locked", "--target", triple, "--target-dir"]).arg(&target);
    finish(cargo.current_dir(folder)).await;
    target.join(triple).join("debug")
}

async fn finish(compiler: &mut Command) {
    // CI sets this to lint the workspace. Copied projects and generated guests are not linted.
    compiler.env_remove("RUSTC_WORKSPACE_WRAPPER");
    let output = tokio::time::timeout(std::time::Duration::from_secs(300), compiler.output()).await;
    let output = output.expect("a small guest builds in minutes").expect("its compiler starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
