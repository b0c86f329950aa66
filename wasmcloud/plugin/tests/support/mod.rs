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
pub(crate) const EXAMPLE: &str = "../../target/wasm32-wasip2/release/guest_example.wasm";
/// The guest that answers HTTP requests.
pub(crate) const HTTP: &str = "../target/wasm32-wasip2/release/http_guest.wasm";

/// The interface of the example guest.
const INVOKE: &str = "wasmcloud:examples/invoke";
/// The interface of the caller.
const CALLER: &str = "test:caller/invoke";

/// A component as a workload's author names it.
#[derive(Default)]
pub(crate) struct Guest<'a> {
    pub(crate) file: &'a str,
    pub(crate) url: String,
    /// The configuration of the interface.
    pub(crate) interface: &'a [(&'a str, &'a str)],
    /// The configuration of the component.
    pub(crate) component: &'a [(&'a str, &'a str)],
    /// Whether another component of the workload calls it.
    pub(crate) called: bool,
}

/// A component that runs.
#[derive(Clone)]
pub(crate) struct Running {
    workload: ResolvedWorkload,
    component: String,
}

pub(crate) struct Host {
    pub(crate) plugin: Arc<WebsocketPlugin>,
    wash: Arc<Wash>,
    http: SocketAddr,
    resolved: mpsc::UnboundedReceiver<Running>,
    callers: mpsc::UnboundedReceiver<Running>,
}

/// Tells which components with an interface run: the host tells its callers an id alone.
struct Spy(&'static str, mpsc::UnboundedSender<Running>);

#[async_trait::async_trait]
impl HostPlugin for Spy {
    fn id(&self) -> &'static str {
        self.0
    }

    fn world(&self) -> WitWorld {
        WitWorld { imports: [self.0.into()].into(), ..WitWorld::default() }
    }

    async fn on_workload_resolved(&self, workload: &ResolvedWorkload, component: &str) -> anyhow::Result<()> {
        self.1.send(Running { workload: workload.clone(), component: component.to_owned() }).unwrap();
        Ok(())
    }
}

impl Host {
    pub(crate) async fn start(settings: Settings) -> Host {
        let (guest, resolved) = mpsc::unbounded_channel();
        let (caller, callers) = mpsc::unbounded_channel();
        let plugin = Arc::new(WebsocketPlugin::new(settings).unwrap());
        // The host cannot say which port it was given, so that it is given one that was free just now.
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let host = HostBuilder::new()
            .with_engine(Engine::builder().with_pooling_allocator(false).build().unwrap())
            .with_plugin(Arc::new(HttpServer::new(http)))
            .and_then(|host| host.with_plugin(Arc::clone(&plugin)))
            .and_then(|host| host.with_plugin(Arc::new(Spy("wasi:cli/environment", guest))))
            .and_then(|host| host.with_plugin(Arc::new(Spy(CALLER, caller))))
            .and_then(HostBuilder::build)
            .unwrap();
        Host { plugin, wash: host.start().await.unwrap(), http, resolved, callers }
    }

    pub(crate) async fn run(&mut self, guest: Guest<'_>) -> anyhow::Result<Running> {
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
        let mut components = vec![Component { bytes: bytes.into(), local_resources, ..Component::default() }];
        if guest.called {
            // The environment comes with the store.
            let environment = components[0].local_resources.environment.clone();
            let local_resources = LocalResources { environment, ..LocalResources::default() };
            components.push(Component { bytes: caller_component().into(), local_resources, ..Component::default() });
            host_interfaces.push(CALLER.into());
        }
        let workload = Workload {
            namespace: "test".into(),
            name: "feed".into(),
            annotations: Default::default(),
            service: None,
            components,
            host_interfaces,
            volumes: Vec::new(),
        };
        self.wash.workload_start(WorkloadStartRequest { workload }).await?;
        Ok(soon(self.resolved.recv()).await.unwrap())
    }

    /// The component of a workload that calls its guest.
    pub(crate) async fn caller(&mut self) -> Running {
        soon(self.callers.recv()).await.unwrap()
    }

    pub(crate) async fn stop(&self, running: &Running) {
        let workload_id = running.id().to_owned();
        soon(self.wash.workload_stop(WorkloadStopRequest { workload_id })).await.unwrap();
    }

    /// What comes back for a request: head and body.
    pub(crate) async fn get(http: SocketAddr, path: &str) -> String {
        let mut tcp = TcpStream::connect(http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        soon(tcp.read_to_string(&mut response)).await.unwrap();
        response
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The value of a metric of a workload; `None` where the plugin does not know the workload.
    pub(crate) fn metric(&self, running: &Running, name: &str) -> Option<u64> {
        let (_, metrics) = self.plugin.metrics().find(|(workload, _)| workload == running.id())?;
        let samples = metrics.snapshot().filter(|sample| sample.metric.name == name);
        Some(samples.map(|sample| sample.value).sum())
    }
}

impl Running {
    pub(crate) fn id(&self) -> &str {
        self.workload.id()
    }

    /// Calls the example guest's `call`, in a store of its own.
    pub(crate) async fn call(&self) -> String {
        self.call_of(INVOKE).await
    }

    /// Calls it through the caller.
    pub(crate) async fn call_on(&self) -> String {
        self.call_of(CALLER).await
    }

    async fn call_of(&self, interface: &str) -> String {
        let pre = self.workload.instantiate_pre(&self.component).await.unwrap();
        let mut store = self.workload.new_store(&self.component).await.unwrap();
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let interface = instance.get_export(&mut store, None, interface).unwrap();
        let call = instance.get_export(&mut store, Some(&interface), "call").unwrap();
        let call = instance.get_typed_func::<(), (String,)>(&mut store, &call).unwrap();
        soon(call.call_async(&mut store, ())).await.unwrap().0
    }
}

/// A component that has no plugin and calls the example guest, which then runs in its store.
fn caller_component() -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (import "{INVOKE}" (instance $invoke (export "call" (func (result string)))))
            (core module $memory
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $memory (instantiate $memory))
            (core func $call (canon lower (func $invoke "call")
                (memory $memory "memory") (realloc (func $memory "realloc"))))
            (core module $m
                (import "" "call" (func $call (param i32)))
                (func (export "call") (result i32) (call $call (i32.const 8)) (i32.const 8)))
            (core instance $m (instantiate $m (with "" (instance (export "call" (func $call))))))
            (func $calls (result string) (canon lift (core func $m "call") (memory $memory "memory")))
            (instance $interface (export "call" (func $calls)))
            (export "{CALLER}" (instance $interface)))"#
    ))
    .unwrap()
}
