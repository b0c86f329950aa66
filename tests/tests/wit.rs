//! The WIT package: it has the shape that guests already import, and wit-deps accepts it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tests::{build_guest, skipped, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::Resolve;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names, cases, fields, order and types, as guests were built against them.
const SHAPE: &str = "
    package wasmcloud:websocket@0.1.0-draft;

    interface types {
        variant websocket-error {
            connection-failed(string),
            invalid-url(string),
            protocol-error(string),
            connection-closed,
            authentication-failed(string),
            timeout,
            invalid-message(string),
            io-error(string),
        }
        enum connection-state { connecting, open, closing, closed, }
        record close-info { code: u16, reason: option<string>, }
        variant message {
            text(string),
            binary(list<u8>),
            ping(list<u8>),
            pong(list<u8>),
            close(close-info),
        }
        record websocket-headers { name: string, value: string, }
    }

    interface client {
        use types.{websocket-error, connection-state, message, websocket-headers, close-info};
        record client-config {
            url: string,
            subprotocols: option<list<string>>,
            headers: option<list<websocket-headers>>,
            timeout-ms: option<u32>,
            max-message-size: option<u32>,
            enable-keepalive: option<bool>,
            keepalive-interval-ms: option<u32>,
        }
        resource connection {
            send: func(message: message) -> result<_, websocket-error>;
            receive: func() -> result<option<message>, websocket-error>;
            close: func(code: option<u16>, reason: option<string>) -> result<_, websocket-error>;
            get-state: func() -> connection-state;
            get-url: func() -> string;
            get-subprotocol: func() -> option<string>;
        }
        connect: func(config: client-config) -> result<connection, websocket-error>;
    }

    world imports {
        import types;
        import client;
    }
";

/// A package's text in the printer's form, without its documentation.
fn printed(resolve: &Resolve, package: wit_parser::PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(resolve, package, &[]).unwrap();
    printer.output.to_string()
}

#[test]
fn the_package_has_the_shape_that_guests_import() {
    let (mut ours, mut expected) = (Resolve::default(), Resolve::default());
    let (package, _) = ours.push_path(root().join("wit")).unwrap();
    let shape = expected.push_str("shape.wit", SHAPE).unwrap();
    assert_eq!(printed(&ours, package), printed(&expected, shape));
}

#[test]
fn the_package_encodes_to_a_valid_component() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit")).unwrap();
    let bytes = wit_component::encode(&resolve, package).unwrap();
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&bytes).unwrap();
}

/// The names and the bytes of the WIT files in a folder.
fn wit_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wit = paths.filter(|path| path.extension().is_some_and(|extension| extension == "wit"));
    wit.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

/// The output of the script that packs the package, run in this checkout.
async fn pack(checkout: &Path) -> std::process::Output {
    // By its shell: another test's process may have inherited the copy while it was written, and nobody executes a file then.
    soon(Command::new("sh").arg(checkout.join("scripts/wit-package")).output()).await.unwrap()
}

/// The archive that the script wrote.
fn archive(checkout: &Path, packed: std::process::Output) -> PathBuf {
    assert!(packed.status.success(), "{packed:?}");
    checkout.join(String::from_utf8(packed.stdout).unwrap().trim_end())
}

/// A checkout with only the files that packing needs, with these permissions.
fn checkout(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["scripts", "wit"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::copy(root().join("scripts/wit-package"), folder.path().join("scripts/wit-package")).unwrap();
    for entry in std::fs::read_dir(root().join("wit")).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        let copy = folder.path().join("wit").join(entry.file_name());
        std::fs::copy(entry.path(), &copy).unwrap();
        std::fs::set_permissions(copy, Permissions::from_mode(mode)).unwrap();
    }
    folder
}

#[tokio::test]
async fn the_archive_is_the_same_for_the_same_files_and_holds_nothing_else() {
    let (one, other) = (checkout(0o644), checkout(0o775));
    let archives = [archive(one.path(), pack(one.path()).await), archive(other.path(), pack(other.path()).await)];
    assert!(std::fs::read(&archives[0]).unwrap() == std::fs::read(&archives[1]).unwrap(), "it depends on more");

    let listed = soon(Command::new("tar").arg("--list").arg("--file").arg(&archives[0]).output()).await.unwrap();
    let top = "wit-wasmcloud-websocket-0.1.0-draft/wit";
    let names = ["README.md".to_owned()].into_iter().chain(wit_files(&root().join("wit")).into_keys());
    let expected: String = names.map(|name| format!("{top}/{name}\n")).collect();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), expected);

    std::fs::remove_file(one.path().join("wit/README.md")).unwrap();
    assert!(!pack(one.path()).await.status.success(), "a file that is missing goes unnoticed");
}

/// Answers every HTTP request with these bytes; gives the port.
async fn serve(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && tcp.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {}
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
            // If a client leaves early, the test fails elsewhere.
            let _ = tcp.write_all(&[head.as_bytes(), &bytes].concat()).await;
        }
    });
    port
}

/// The real wit-deps; `None`, with a line that says so, where it is not installed.
async fn wit_deps(folder: &Path, args: &[&str]) -> Option<std::process::Output> {
    let mut command = Command::new("wit-deps");
    command.args(args).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    match soon(command.output()).await {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped("wit-deps is not installed (cargo install --locked wit-deps-cli@0.6.0)");
            None
        }
        Err(error) => panic!("wit-deps does not start: {error}"),
    }
}

const WORLD: &str = "package test:hello;
    interface greet { call: func() -> string; }
    world hello { import wasmcloud:websocket/client@0.1.0-draft; export greet; }";

const GUEST: &str = "wit_bindgen::generate!({ path: \"wit\", world: \"hello\", generate_all });
    struct Component;
    impl exports::test::hello::greet::Guest for Component {
        fn call() -> String { format!(\"{:?}\", wasmcloud::websocket::client::Connection::get_url as usize != 0) }
    }
    export!(Component);";

#[tokio::test]
async fn wit_deps_takes_the_archive_into_an_empty_project_which_then_builds_a_guest() {
    let archive = archive(&root(), pack(&root()).await);
    let port = serve(std::fs::read(&archive).unwrap()).await;

    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir(project.path().join("wit")).unwrap();
    let file = archive.file_name().unwrap().to_str().unwrap();
    let manifest = format!("websocket = \"http://127.0.0.1:{port}/{file}\"\n");
    std::fs::write(project.path().join("wit/deps.toml"), manifest).unwrap();
    let Some(output) = wit_deps(project.path(), &["lock"]).await else { return };
    assert!(output.status.success(), "{output:?}");
    // wit-deps says nothing of an archive in which it finds no WIT.
    assert_eq!(wit_files(&project.path().join("wit/deps/websocket")), wit_files(&root().join("wit")));

    std::fs::write(project.path().join("wit/world.wit"), WORLD).unwrap();
    let guest = std::fs::read(build_guest("wit-deps-guest", project.path(), GUEST).await).unwrap();
    let DecodedWasm::Component(guest, world) = wit_component::decode(&guest).unwrap() else { panic!("no component") };
    let imports: Vec<_> = guest.worlds[world].imports.keys().map(|key| guest.name_world_key(key)).collect();
    assert!(imports.iter().any(|name| name == "wasmcloud:websocket/client@0.1.0-draft"), "{imports:?}");
}

#[tokio::test]
async fn the_lock_of_the_package_is_current() {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("wit")).unwrap();
    for entry in std::fs::read_dir(root().join("wit")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join("wit").join(path.file_name().unwrap())).unwrap();
    }
    // wit-deps repairs differences that it finds, so this compares the files that it leaves.
    let Some(output) = wit_deps(copy.path(), &["lock"]).await else { return };
    assert!(output.status.success(), "{output:?}");
    let lock = |folder: &Path| std::fs::read_to_string(folder.join("wit/deps.lock")).unwrap();
    assert_eq!(lock(copy.path()), lock(&root()));
    assert!(!copy.path().join("wit/deps").exists(), "the package has no dependencies");
}
