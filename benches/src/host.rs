//! The benchmark's own hosts, for cases that the program does not support: a guest with its own WebSocket library on
//! the host's TCP, and many instances at once.

use crate::guest_path;
use anyhow::{Context, Result, bail, ensure};
use bench_exchange::{Job, Sample, Target, serve};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex, split},
    runtime::{Builder, Runtime},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreContextMut,
    component::{Component, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{AsyncStdinStream, AsyncStdoutStream},
    p2::bindings::CommandPre,
};
use websocket_connection::{Connection, Message};
use websocket_provider::{Endpoint, Settings, WebsocketCtx, WebsocketCtxView, WebsocketView};

/// How long to wait until started work has settled.
const SETTLE: Duration = Duration::from_millis(200);

/// The most instances of any benchmark.
const MOST_INSTANCES: u32 = 6000;

#[derive(Clone)]
struct Host {
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
    fn new(guest: &str) -> Result<Host> {
        Host::with(guest, |_| Ok(()))
    }

    /// A host with more interfaces than the program.
    fn with(guest: &str, add: impl FnOnce(&mut Linker<Data>) -> Result<()>) -> Result<Host> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(MOST_INSTANCES).total_core_instances(4 * MOST_INSTANCES);
        pool.total_memories(MOST_INSTANCES).total_tables(4 * MOST_INSTANCES).total_stacks(MOST_INSTANCES);
        // An address space for each, of which a guest uses what it needs.
        pool.max_memory_size(16 << 20);
        // Memory of an instance is cleared for the next one, without returning it to the kernel.
        pool.linear_memory_keep_resident(128 << 10).table_keep_resident(16 << 10).async_stack_keep_resident(64 << 10);
        pool.pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.concurrency_support(false);
        // At an odd number of pages from each other: else the same page of every instance competes for the same place in
        // the processor's table of pages.
        config.memory_reservation(16 << 20).memory_guard_size(68 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::<Data>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        websocket_provider::p2::add_to_linker(&mut linker)?;
        add(&mut linker)?;
        let pre = linker.instantiate_pre(&Component::from_file(&engine, guest_path(guest)?)?)?;
        let mut settings = Settings::default();
        for (name, value) in [("allow", "localhost"), ("max-connections", "6000"), ("max-connections-total", "6000")] {
            settings.set(name, value)?;
        }
        Ok(Host { pre: Arc::new(CommandPre::new(pre)?), endpoint: Endpoint::new(settings)? })
    }

    async fn run(self, wasi: WasiCtx) -> Result<()> {
        let websocket = WebsocketCtx::new(self.endpoint);
        let mut store = Store::new(self.pre.engine(), Data { table: ResourceTable::new(), wasi, websocket });
        let command = self.pre.instantiate_async(&mut store).await?;
        ensure!(command.wasi_cli_run().call_run(&mut store).await?.is_ok(), "the guest failed");
        Ok(())
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Runs the guest with its own library, which does the jobs.
pub(crate) fn sockets() -> Result<()> {
    let host = Host::new("bench-sockets")?;
    let wasi = WasiCtx::builder().inherit_stdio().allow_tcp(true).inherit_network().build();
    runtime()?.block_on(async { tokio::spawn(host.run(wasi)).await? })
}

/// Runs the guest that has calls for many messages, which does the jobs.
pub(crate) fn batch() -> Result<()> {
    let host = Host::with("bench-batch", add_batch)?;
    let wasi = WasiCtx::builder().inherit_stdio().build();
    runtime()?.block_on(async { tokio::spawn(host.run(wasi)).await? })
}

fn add_batch(linker: &mut Linker<Data>) -> Result<()> {
    let mut batch = linker.instance("wasmcloud:bench/batch")?;
    batch.func_wrap_async(
        "send-many",
        |mut store: StoreContextMut<'_, Data>, (this, messages): (Resource<Arc<Connection>>, Vec<Bytes>)| {
            Box::new(async move {
                let connection = store.data_mut().table.get(&this)?;
                for data in messages {
                    if let Err(error) = connection.send(&Message::Binary(data)).await {
                        return Ok((Err(error.to_string()),));
                    }
                }
                Ok((Ok(()),))
            })
        },
    )?;
    batch.func_wrap_async(
        "receive-many",
        |mut store: StoreContextMut<'_, Data>, (this, most): (Resource<Arc<Connection>>, u32)| {
            Box::new(async move {
                let connection = store.data_mut().table.get(&this)?;
                let mut received = Vec::new();
                while received.is_empty() {
                    match connection.receive().await {
                        Ok(message) => received.extend(message.and_then(binary)),
                        Err(error) => return Ok((Err(error.to_string()),)),
                    }
                }
                while received.len() < most as usize
                    && let Some(message) = connection.try_receive()
                {
                    received.extend(binary(message));
                }
                Ok((Ok(received),))
            })
        },
    )?;
    Ok(())
}

fn binary(message: Message) -> Option<Bytes> {
    if let Message::Binary(data) = message { Some(data) } else { None }
}

/// Does jobs with an instance for each connection.
pub(crate) fn instances() -> Result<()> {
    let host = Host::new("bench-websocket")?;
    let runtime = runtime()?;
    serve(|job, start| match job {
        Job::Exchange { target, mode, size, count, connections } => {
            let job = Job::Exchange { target, mode, size, count, connections: 1 };
            let mut guests = runtime.block_on(prepare(&host, connections, &job))?;
            start()?;
            let began = Instant::now();
            runtime.block_on(async {
                for guest in &mut guests {
                    guest.tell("go").await?;
                }
                for guest in &mut guests {
                    guest.line().await?;
                }
                Ok(Sample { nanos: began.elapsed().as_nanos() as u64, ..Sample::default() })
            })
        }
        Job::Hold { target, connections, .. } => {
            let held = runtime.block_on(hold(&host, &target, connections))?;
            start()?;
            drop(held);
            runtime.block_on(host.endpoint.closed());
            Ok(Sample::default())
        }
        Job::Start { count } => {
            start()?;
            let began = Instant::now();
            let host = host.clone();
            runtime.block_on(async {
                tokio::spawn(async move {
                    for _ in 0..count {
                        host.clone().run(WasiCtx::builder().build()).await?;
                    }
                    anyhow::Ok(())
                })
                .await?
            })?;
            Ok(Sample { nanos: began.elapsed().as_nanos() as u64, ..Sample::default() })
        }
        other => bail!("this is for others: {other:?}"),
    })
}

/// An instance, and the lines to and from it.
struct Guest {
    input: DuplexStream,
    lines: Lines<BufReader<DuplexStream>>,
    _running: JoinHandle<Result<()>>,
}

impl Guest {
    fn start(host: &Host) -> Guest {
        const PIPE: usize = 4096;
        let ((input, stdin), (output, stdout)) = (duplex(PIPE), duplex(PIPE));
        let mut wasi = WasiCtx::builder();
        wasi.stdin(AsyncStdinStream::new(stdin)).stdout(AsyncStdoutStream::new(PIPE, split(stdout).1));
        let running = tokio::spawn(host.clone().run(wasi.inherit_stderr().build()));
        Guest { input, lines: BufReader::new(output).lines(), _running: running }
    }

    async fn tell(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<String> {
        self.lines.next_line().await?.context("a guest ended before it answered")
    }
}

async fn prepare(host: &Host, count: usize, job: &Job) -> Result<Vec<Guest>> {
    let job = serde_json::to_string(job)?;
    let mut guests: Vec<_> = (0..count).map(|_| Guest::start(host)).collect();
    for guest in &mut guests {
        guest.tell(&job).await?;
    }
    for guest in &mut guests {
        guest.line().await?;
    }
    Ok(guests)
}

/// So many instances that wait for a message, without input or output.
async fn hold(host: &Host, target: &Target, count: usize) -> Result<JoinSet<Result<()>>> {
    let mut held = JoinSet::new();
    for _ in 0..count {
        let wasi = WasiCtxBuilder::new().arg("guest").arg(&target.url).build();
        held.spawn(host.clone().run(wasi));
    }
    while active(&host.endpoint) < count as u64 {
        sleep(SETTLE).await;
    }
    // The instance whose connection this is waits a moment later.
    sleep(SETTLE).await;
    Ok(held)
}

/// How many connections are open now.
fn active(endpoint: &Endpoint) -> u64 {
    let mut samples = endpoint.metrics().snapshot();
    samples.find(|sample| sample.metric.name == "websocket.connections.active").map_or(0, |sample| sample.value)
}
