//! A wasmCloud host with the plugin, whose workloads a test starts, calls and stops.

use std::{net::SocketAddr, path::Path, sync::Arc};
use test_peer::soon;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wash_runtime::{
    engine::{Engine, workload::ResolvedWorkload},
    host::{Host as Wash, HostApi, HostBuilder},
    plugin::{HostPlugin, wasi_http::HttpServer},
    types::{Component, LocalResources, Workload, WorkloadStartRequest, WorkloadStopRequest},
    wit::{WitInterface, WitWorld},
};
use wasmcloud_websocket_plugin::{Settings, WebsocketPlugin};

/// The example guest, which says what came of `call`.
pub const EXAMPLE: &str = "../../target/wasm32-wasip2/release/guest_example.wasm";
/// The guest that answers HTTP requests.
pub const HTTP: &str = "../target/wasm32-wasip2/release/http_guest.wasm";

/// A component as a workload's author names it.
#[derive(Default)]
pub struct Guest<'a> {
    pub file: &'a str,
    pub url: String,
    /// The configuration of the interface.
    pub interface: &'a [(&'a str, &'a str)],
    /// The configuration of the component.
    pub component: &'a [(&'a str, &'a str)],
}

/// A component that runs.
#[derive(Clone)]
pub struct Running {
    workload: ResolvedWorkload,
    component: String,
}

pub struct Host {
    pub plugin: Arc<WebsocketPlugin>,
    wash: Arc<Wash>,
    http: SocketAddr,
    resolved: mpsc::UnboundedReceiver<Running>,
}

/// Tells which workloads are there: the host tells its callers an id alone.
struct Spy(mpsc::UnboundedSender<Running>);

#[async_trait::async_trait]
impl HostPlugin for Spy {
    fn id(&self) -> &'static str {
        "spy"
    }

    fn world(&self) -> WitWorld {
        WitWorld { imports: ["wasi:cli/environment".into()].into(), ..WitWorld::default() }
    }

    async fn on_workload_resolved(&self, workload: &ResolvedWorkload, component: &str) -> anyhow::Result<()> {
        self.0.send(Running { workload: workload.clone(), component: component.to_owned() }).unwrap();
        Ok(())
    }
}

impl Host {
    pub async fn start(settings: Settings) -> Host {
        let (spy, resolved) = mpsc::unbounded_channel();
        let plugin = Arc::new(WebsocketPlugin::new(settings).unwrap());
        // The host cannot say which port it was given, so that it is given one that was free just now.
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let host = HostBuilder::new()
            .with_engine(Engine::builder().with_pooling_allocator(false).build().unwrap())
            .with_plugin(Arc::new(HttpServer::new(http)))
            .and_then(|host| host.with_plugin(Arc::clone(&plugin)))
            .and_then(|host| host.with_plugin(Arc::new(Spy(spy))))
            .and_then(HostBuilder::build)
            .unwrap();
        Host { plugin, wash: host.start().await.unwrap(), http, resolved }
    }

    pub async fn run(&mut self, guest: Guest<'_>) -> anyhow::Result<Running> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(guest.file);
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; `make test-wasmcloud` builds it", path.display()));
        let mut websocket = WitInterface::from("wasmcloud:websocket/client@0.1.0-draft");
        websocket.config = guest.interface.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut host_interfaces = vec!["wasi:cli/environment".into(), websocket];
        if guest.file == HTTP {
            host_interfaces.push("wasi:http/incoming-handler".into());
        }
        let local_resources = LocalResources {
            environment: [("WS_URL".to_owned(), guest.url)].into(),
            config: guest.component.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..LocalResources::default()
        };
        let workload = Workload {
            namespace: "test".into(),
            name: "feed".into(),
            annotations: Default::default(),
            service: None,
            components: vec![Component { bytes: bytes.into(), local_resources, ..Component::default() }],
            host_interfaces,
            volumes: Vec::new(),
        };
        self.wash.workload_start(WorkloadStartRequest { workload }).await?;
        Ok(soon(self.resolved.recv()).await.unwrap())
    }

    pub async fn stop(&self, running: &Running) {
        let workload_id = running.id().to_owned();
        soon(self.wash.workload_stop(WorkloadStopRequest { workload_id })).await.unwrap();
    }

    /// What comes back for a request: head and body.
    pub async fn get(http: SocketAddr, path: &str) -> String {
        let mut tcp = TcpStream::connect(http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        soon(tcp.read_to_string(&mut response)).await.unwrap();
        response
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The value of a metric of a workload; `None` where the plugin does not know the workload.
    pub fn metric(&self, running: &Running, name: &str) -> Option<u64> {
        let (_, metrics) = self.plugin.metrics().find(|(workload, _)| workload == running.id())?;
        let samples = metrics.snapshot().filter(|sample| sample.metric.name == name);
        Some(samples.map(|sample| sample.value).sum())
    }
}

impl Running {
    pub fn id(&self) -> &str {
        self.workload.id()
    }

    /// Calls the example guest's `call`, in a store of its own.
    pub async fn call(&self) -> String {
        let pre = self.workload.instantiate_pre(&self.component).await.unwrap();
        let mut store = self.workload.new_store(&self.component).await.unwrap();
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let interface = instance.get_export(&mut store, None, "wasmcloud:examples/invoke").unwrap();
        let call = instance.get_export(&mut store, Some(&interface), "call").unwrap();
        let call = instance.get_typed_func::<(), (String,)>(&mut store, &call).unwrap();
        soon(call.call_async(&mut store, ())).await.unwrap().0
    }
}
