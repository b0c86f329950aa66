//! The NATS server, of the system's packages.

use std::{process::Stdio, time::Duration};
use tempfile::TempDir;
use test_peer::soon;
use tokio::process::{Child, Command};

/// A server on loopback, at a port that was free, with JetStream in a folder of its own. It ends with this.
#[derive(Debug)]
pub struct Nats {
    /// Where clients connect.
    pub url: String,
    _server: Child,
    _folder: TempDir,
}

impl Nats {
    /// Starts it with the payload limit of `max_payload` bytes.
    pub async fn start(max_payload: usize) -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, format!("max_payload: {max_payload}\n")).unwrap();
        let server = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--ports_file_dir"])
            .arg(folder.path())
            .arg("--store_dir")
            .arg(folder.path())
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("nats-server: {error}; `make test-wasmcloud` installs it"));
        let ports = folder.path().join(format!("nats-server_{}.ports", server.id().unwrap()));
        // It writes the file when it listens, and tells nobody.
        let url = soon(async {
            loop {
                let ports = std::fs::read(&ports).ok().and_then(|ports| serde_json::from_slice(&ports).ok());
                match ports.as_ref().and_then(|ports: &serde_json::Value| ports["nats"][0].as_str()) {
                    Some(url) => return url.to_owned(),
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Nats { url: url.await, _server: server, _folder: folder }
    }
}
