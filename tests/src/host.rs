//! The tests' own host around the library, for tests that count resources within one process.

use crate::{guest, probe::Probe, second_host};
use std::{sync::Arc, thread, time::Duration};
use tokio::{
    io::{duplex, split},
    task::JoinHandle,
};
use wasmtime::{
    Config, Engine, Store, StoreLimits, StoreLimitsBuilder,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{AsyncStdinStream, AsyncStdoutStream},
    p2::bindings::CommandPre,
};
use websocket_provider::{Endpoint, Settings, WebsocketCtx, WebsocketCtxView, WebsocketView};

/// How long a guest may compute before it yields to others on its thread.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// A host that runs any number of guests, each in a store of its own.
#[derive(Clone)]
pub struct Host {
    linker: Arc<Linker<Data>>,
    probe: Guest,
    endpoint: Endpoint,
}

/// A command that is ready to run in its host.
#[derive(Clone)]
pub struct Guest {
    pre: Arc<CommandPre<Data>>,
}

/// Limits that end a guest with a trap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes of one memory.
    pub memory: Option<usize>,
    /// Time slices since its start, whichever guest computes in them.
    pub time_slices: Option<u64>,
}

struct Data {
    table: ResourceTable,
    wasi: WasiCtx,
    websocket: WebsocketCtx,
    limits: StoreLimits,
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
        second_host::must_not_run();
        let mut settings = Settings::default();
        for (name, value) in [("allow", "localhost")].iter().chain(changes) {
            settings.set(name, value).expect("the test has good settings");
        }
        let mut config = Config::new();
        config.concurrency_support(false).epoch_interruption(true);
        let engine = Engine::new(&config).expect("the configuration is good");
        let ticking = engine.weak();
        thread::spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TIME_SLICE);
            }
        });
        let mut linker = Linker::<Data>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI links");
        websocket_provider::p2::add_to_linker(&mut linker).expect("the package links");
        let probe = Guest::new(&linker, &guest("probe"));
        Host { linker: Arc::new(linker), probe, endpoint: Endpoint::new(settings).expect("the settings are good") }
    }

    /// Another guest of this workspace.
    pub fn guest(&self, name: &str) -> Guest {
        Guest::new(&self.linker, &guest(name))
    }

    /// Starts the guest `probe`. The task returns an error if the guest trapped.
    pub fn probe(&self) -> (Probe, JoinHandle<wasmtime::Result<()>>) {
        self.probe_of(&self.endpoint.for_guest())
    }

    /// A guest whose connections this endpoint opens.
    pub fn probe_of(&self, endpoint: &Endpoint) -> (Probe, JoinHandle<wasmtime::Result<()>>) {
        const PIPE: usize = 64 * 1024;
        let ((input, stdin), (output, stdout)) = (duplex(PIPE), duplex(PIPE));
        let mut wasi = WasiCtx::builder();
        wasi.stdin(AsyncStdinStream::new(stdin)).stdout(AsyncStdoutStream::new(PIPE, split(stdout).1));
        let running = self.probe.start(endpoint, &mut wasi, Limits::default());
        (Probe::over(Box::new(input), Box::new(output)), running)
    }

    /// The endpoint of the host's connections.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Guest {
    fn new(linker: &Linker<Data>, bytes: &[u8]) -> Guest {
        let component = Component::new(linker.engine(), bytes).expect("the guest compiles");
        let pre = linker.instantiate_pre(&component).expect("the guest links");
        Guest { pre: Arc::new(CommandPre::new(pre).expect("the guest is a command")) }
    }

    /// Runs it with these arguments after its name, without input or output, in a store that goes with the task.
    pub fn run(&self, endpoint: &Endpoint, args: &[&str], limits: Limits) -> JoinHandle<wasmtime::Result<()>> {
        self.start(endpoint, WasiCtx::builder().arg("guest").args(args), limits)
    }

    /// The same, with this process's standard output.
    pub fn run_aloud(&self, endpoint: &Endpoint, args: &[&str]) -> JoinHandle<wasmtime::Result<()>> {
        self.start(endpoint, WasiCtx::builder().arg("guest").args(args).inherit_stdout(), Limits::default())
    }

    fn start(
        &self,
        endpoint: &Endpoint,
        wasi: &mut WasiCtxBuilder,
        limits: Limits,
    ) -> JoinHandle<wasmtime::Result<()>> {
        let memory = StoreLimitsBuilder::new().memory_size(limits.memory.unwrap_or(usize::MAX));
        let data = Data {
            table: ResourceTable::new(),
            wasi: wasi.build(),
            websocket: WebsocketCtx::new(endpoint.clone()),
            limits: memory.trap_on_grow_failure(limits.memory.is_some()).build(),
        };
        let pre = Arc::clone(&self.pre);
        tokio::spawn(async move {
            let mut store = Store::new(pre.engine(), data);
            store.limiter(|data| &mut data.limits);
            match limits.time_slices {
                Some(count) => store.set_epoch_deadline(count),
                None => {
                    store.set_epoch_deadline(1);
                    store.epoch_deadline_async_yield_and_update(1);
                }
            }
            let command = pre.instantiate_async(&mut store).await?;
            let outcome = command.wasi_cli_run().call_run(&mut store).await?;
            outcome.map_err(|()| wasmtime::Error::msg("the guest failed"))
        })
    }
}
