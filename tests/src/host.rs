//! A host of the tests' own around the library, for what must be counted in one process.

use crate::{guest, probe::Probe};
use std::sync::Arc;
use tokio::{
    io::{duplex, split},
    task::JoinHandle,
};
use wasmtime::{
    Config, Engine, Store,
    component::{Component, InstancePre, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    cli::{AsyncStdinStream, AsyncStdoutStream},
    p2::bindings::CommandPre,
};
use websocket_provider::{Endpoint, Settings, WebsocketCtx, WebsocketCtxView, WebsocketView};

/// A host that runs any number of probes, each in a store of its own.
#[derive(Clone)]
pub struct Host {
    pre: Arc<CommandPre<Data>>,
    endpoint: Endpoint,
}

struct Data {
    table: ResourceTable,
    wasi: WasiCtx,
    websocket: WebsocketCtx,
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WebsocketView for Data {
    fn websocket(&mut self) -> WebsocketCtxView<'_> {
        WebsocketCtxView { ctx: &mut self.websocket, table: &mut self.table }
    }
}

impl Host {
    /// A host with these settings, by name, that allows all of this machine.
    pub fn new(changes: &[(&str, &str)]) -> Host {
        let mut settings = Settings::default();
        for (name, value) in [("allow", "localhost")].iter().chain(changes) {
            settings.set(name, value).expect("the test has good settings");
        }
        let mut config = Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).expect("the configuration is good");
        let mut linker = Linker::<Data>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI links");
        websocket_provider::p2::add_to_linker(&mut linker).expect("the package links");
        let component = Component::new(&engine, guest("probe")).expect("the probe compiles");
        let pre: InstancePre<Data> = linker.instantiate_pre(&component).expect("the probe links");
        let pre = Arc::new(CommandPre::new(pre).expect("the probe is a command"));
        Host { pre, endpoint: Endpoint::new(settings).expect("the settings are good") }
    }

    /// A guest, and how it ends: with an error where it trapped.
    pub fn probe(&self) -> (Probe, JoinHandle<wasmtime::Result<()>>) {
        self.probe_of(&self.endpoint.for_guest())
    }

    /// A guest whose connections this endpoint opens.
    pub fn probe_of(&self, endpoint: &Endpoint) -> (Probe, JoinHandle<wasmtime::Result<()>>) {
        const PIPE: usize = 64 * 1024;
        let ((input, stdin), (output, stdout)) = (duplex(PIPE), duplex(PIPE));
        let wasi = WasiCtx::builder()
            .stdin(AsyncStdinStream::new(stdin))
            .stdout(AsyncStdoutStream::new(PIPE, split(stdout).1))
            .build();
        let data = Data { table: ResourceTable::new(), wasi, websocket: WebsocketCtx::new(endpoint.clone()) };
        let pre = Arc::clone(&self.pre);
        let guest = tokio::spawn(async move {
            let mut store = Store::new(pre.engine(), data);
            let command = pre.instantiate_async(&mut store).await?;
            let outcome = command.wasi_cli_run().call_run(&mut store).await?;
            outcome.map_err(|()| wasmtime::Error::msg("the probe failed"))
        });
        (Probe::over(Box::new(input), Box::new(output)), guest)
    }

    /// Where the host's connections come from.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}
