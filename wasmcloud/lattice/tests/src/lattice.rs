//! The lattice: hosts that join by a NATS URL, the provider's replicas, and links.

use crate::{Caller, Echo, Handle, Nats};
use async_nats::client::{Request, RequestErrorKind};
use async_nats_039 as nats_of_host;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use test_peer::soon;
use wasmcloud_control_interface::{Client as Control, ClientBuilder, CtlResponse, Link};
use wasmcloud_host::wasmbus::{Host, HostConfig};
use wasmcloud_provider_sdk::core::logging::Level;
use wrpc_transport_nats::invocation_subject;

/// The provider's id on the lattice.
pub const PROVIDER: &str = "websocket";
/// The probe's.
pub const COMPONENT: &str = "probe";

const NAME: &str = "test";
const ARCHIVE: &str = "../target/wasmcloud-websocket-provider.par.gz";
const GUEST: &str = "../../target/wasm32-wasip2/release/lattice_probe.wasm";

/// NATS, and hosts.
pub struct Lattice {
    /// A connection of the test's own.
    pub nats: async_nats::Client,
    /// The hosts' ids.
    pub hosts: Vec<String>,
    control: Control,
    _running: Vec<Arc<Host>>,
    _server: Nats,
}

impl Drop for Lattice {
    fn drop(&mut self) {
        // Each host unpacks the provider there, under its own id, and never looks at it again.
        for host in &self.hosts {
            let _ = std::fs::remove_dir_all(std::env::temp_dir().join("wasmcloudcache").join(host));
        }
    }
}

impl Lattice {
    /// A lattice with so many hosts.
    pub async fn start(hosts: usize) -> Lattice {
        Lattice::with_max_payload(hosts, 1024 * 1024).await
    }

    /// A lattice whose NATS server takes at most so many bytes at a time.
    pub async fn with_max_payload(hosts: usize, max_payload: usize) -> Lattice {
        let server = Nats::start(max_payload).await;
        let nats = soon(async_nats::connect(&server.url)).await.unwrap();
        let control = soon(nats_of_host::connect(&server.url)).await.unwrap();
        let control = ClientBuilder::new(control).lattice(NAME).timeout(Duration::from_secs(20)).build();
        let (mut ids, mut running) = (Vec::new(), Vec::new());
        for _ in 0..hosts {
            let key = Arc::new(nkeys::KeyPair::new_server());
            ids.push(key.public_key());
            let config = HostConfig {
                ctl_nats_url: server.url.parse().unwrap(),
                rpc_nats_url: server.url.parse().unwrap(),
                lattice: NAME.into(),
                host_key: Some(key),
                allow_file_load: true,
                // NATS ends before the providers do, and each says so.
                log_level: Level::Critical,
                ..HostConfig::default()
            };
            let (host, _) = soon(Host::new(config)).await.unwrap();
            running.push(host);
        }
        Lattice { nats, hosts: ids, control, _running: running, _server: server }
    }

    /// The subject under which something on the lattice is called.
    pub fn subject(&self, id: &str) -> String {
        format!("{NAME}.{id}")
    }

    /// Starts a replica of the provider on a host.
    pub async fn start_provider(&self, host: &str) {
        let archive = reference(ARCHIVE);
        ok(soon(self.control.start_provider(host, &archive, PROVIDER, None, Vec::new())).await);
    }

    /// Stops it.
    pub async fn stop_provider(&self, host: &str) {
        ok(soon(self.control.stop_provider(host, PROVIDER)).await);
    }

    /// Waits until so many replicas answer and have this link.
    pub async fn replicas(&self, count: usize, component: &str, link: &str) {
        let caller = Caller::new(self, PROVIDER, component, link).await;
        let echo = Echo::start().await;
        let mut replicas = HashSet::new();
        while replicas.len() < count {
            let handle = caller.connect(&echo.url()).await;
            replicas.insert(handle.slice(..16));
            caller.close(&handle).await.unwrap();
        }
    }

    /// Waits until NATS has seen the replica with this connection go.
    pub async fn gone(&self, handle: &Handle) {
        let replica: String = handle[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let prefix = format!("{}-{replica}", self.subject(PROVIDER));
        let connect = invocation_subject(&prefix, "wasmcloud:websocket/client@0.1.0-draft", "connect");
        soon(async {
            loop {
                let request = Request::new().timeout(Some(Duration::from_millis(100)));
                match self.nats.send_request(connect.clone(), request).await {
                    Err(error) if error.kind() == RequestErrorKind::NoResponders => return,
                    _ => {}
                }
            }
        })
        .await;
    }

    /// Starts the probe on a host.
    pub async fn start_component(&self, host: &str) {
        let guest = reference(GUEST);
        ok(soon(self.control.scale_component(host, &guest, COMPONENT, 8, None, Vec::new(), false)).await);
    }

    /// Links a component to the provider, with this configuration.
    pub async fn link(&self, component: &str, link: &str, config: &[(&str, &str)]) {
        // Hosts learn of configuration when they do: what has a name never changes.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("rules{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let config: HashMap<_, _> = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        ok(soon(self.control.put_config(&name, config)).await);
        self.put_link(component, PROVIDER, link, ("wasmcloud", "websocket", "client"), vec![name]).await;
    }

    /// Links the probe to the script that the test serves as `target`.
    pub async fn link_script(&self, target: &str) {
        self.put_link(COMPONENT, target, "default", ("test", "lattice", "script"), Vec::new()).await;
    }

    async fn put_link(&self, from: &str, to: &str, link: &str, wit: (&str, &str, &str), config: Vec<String>) {
        let (namespace, package, interface) = wit;
        let link = Link::builder()
            .source_id(from)
            .target(to)
            .name(link)
            .wit_namespace(namespace)
            .wit_package(package)
            .interfaces(vec![interface.to_owned()])
            .target_config(config)
            .build()
            .unwrap();
        ok(soon(self.control.put_link(link)).await);
    }

    /// Deletes a link to the provider.
    pub async fn unlink(&self, component: &str, link: &str) {
        ok(soon(self.control.delete_link(component, link, "wasmcloud", "websocket")).await);
    }

    /// Whether the replicas say that they are well: one of their answers.
    pub async fn health(&self) -> String {
        let subject = format!("wasmbus.rpc.{NAME}.{PROVIDER}.health");
        let answer = soon(self.nats.request(subject, "".into())).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
    }
}

fn ok(response: Result<CtlResponse<()>, Box<dyn std::error::Error + Send + Sync>>) {
    let response = response.unwrap();
    assert!(response.succeeded(), "{}", response.message());
}

fn reference(file: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let path = path.canonicalize().unwrap_or_else(|error| {
        panic!("{}: {error}; `make test-wasmcloud` builds it", path.display());
    });
    format!("file://{}", path.display())
}
