//! `run`: a component as a command, or one call of it.

use crate::{
    address, answer,
    cache::{CacheUse, Cached},
    compile::compiled,
    config::{Scope, SettingFlags},
    engine::Calls,
    env::Environment,
    guest::{CALL, Entry, Guest, choose, entries},
    output::Output,
    precompiled::{self, Trust, Trusted},
    stop::StopRequests,
    wasi_http::GuestHttp,
};
use anyhow::{Context, anyhow, bail};
use bytesize::ByteSize;
use clap::Args;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;
use wasmtime::{
    Engine, ResourceLimiter, Store, Trap,
    component::{Component, ComponentNamedList, InstancePre, Lift, Linker, ResourceTable},
};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView, p2::add_only_http_to_linker_async};
use websocket_connection::{Concerns, Setting, parse_size, parse_time_limit};
use websocket_provider::{
    Endpoint, WebsocketCtx, WebsocketCtxView, WebsocketView,
    p2::{VERSIONS, add_to_linker},
};

/// Runs a component: wasi:cli/run as a command, or `call: func() -> string` of an interface
#[derive(Args)]
#[command(
    after_help = "Example: websocket-provider run --allow localhost:9001 --env WS_URL=ws://localhost:9001 guest.wasm"
)]
pub(crate) struct Arguments {
    /// The component to run
    #[arg(value_name = "GUEST.wasm", value_parser = address::file())]
    guest: PathBuf,
    /// The arguments of a command
    #[arg(value_name = "ARGS", num_args = 0.., last = true)]
    args: Vec<String>,
    #[command(flatten)]
    environment: Environment,
    /// Time limit for the guest; by default, it may run forever
    #[arg(long, value_name = "DURATION", value_parser = parse_time_limit)]
    timeout: Option<Duration>,
    /// Limit of the guest's memory, including its tables, such as 64MiB; by default, only WebAssembly's own
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<usize>,
    /// Allow the guest's HTTP requests to destinations that `--allow` grants; by default, all are denied
    #[arg(long)]
    allow_http: bool,
    #[command(flatten)]
    cache: CacheUse,
    #[command(flatten)]
    trust: Trust,
    /// The interface whose `call` function to run
    #[arg(long, value_name = "NAME")]
    call: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Dialling>,
}

/// The settings of guests, and of the connections that they dial.
pub(crate) struct Dialling;

impl Scope for Dialling {
    fn has(setting: &Setting) -> bool {
        setting.concerns != Concerns::Accepted
    }
}

/// What the store of a guest holds.
struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    websocket: WebsocketCtx,
    http: GuestHttp,
    memory: MemoryLimit,
}

/// The memories and tables of all instances of a guest, in bytes.
struct MemoryLimit {
    used: usize,
    most: usize,
}

impl MemoryLimit {
    /// Lets something grow, unless that is more than it may have: the guest is told so, and nothing grows.
    fn grow(&mut self, by: usize, beyond_its_own: bool) -> wasmtime::Result<bool> {
        if beyond_its_own {
            return Ok(false);
        }
        let used = self.used.saturating_add(by);
        if used > self.most {
            let most = ByteSize::b(self.most as u64);
            return Err(wasmtime::Error::msg(format!("it needs more memory than {most}; raise --memory-limit")));
        }
        self.used = used;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current), maximum.is_some_and(|maximum| desired > maximum))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // An element is a pointer in the host.
        let by = desired.saturating_sub(current).saturating_mul(size_of::<usize>());
        self.grow(by, maximum.is_some_and(|maximum| desired > maximum))
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http.view(&mut self.table)
    }
}

impl WebsocketView for Host {
    fn websocket(&mut self) -> WebsocketCtxView<'_> {
        WebsocketCtxView { ctx: &mut self.websocket, table: &mut self.table }
    }
}

/// Runs the guest that the command line names; gives the exit code.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<i32> {
    let path = &arguments.guest;
    let endpoint = Endpoint::new(arguments.settings.settings()?)?;
    let (pre, entry) = load(arguments)?;
    let outputs = [Output::stdout(), Output::stderr()];
    let host = Host {
        table: ResourceTable::new(),
        wasi: wasi(arguments, outputs.clone()),
        websocket: WebsocketCtx::new(endpoint.clone()),
        http: GuestHttp::new(arguments.allow_http, &endpoint),
        memory: MemoryLimit { used: 0, most: arguments.memory_limit.unwrap_or(usize::MAX) },
    };
    let shown = path.display().to_string();
    let mut stop = StopRequests::listen().context("cannot listen for signals")?;
    // A task of its own: the guest then shares a thread with the sockets that it waits for.
    let mut guest = tokio::spawn(async move {
        let outcome = drive(&pre, entry, host).await;
        for output in outputs {
            output.finished().await;
        }
        outcome.map_err(|error| explain(&shown, error))
    });
    let limit = arguments.timeout;
    let mut ended = tokio::select! {
        biased;
        code = stop.next() => Ok(code),
        outcome = &mut guest => outcome?,
        () = sleep(limit.unwrap_or_default()), if limit.is_some() => Err(anyhow!(
            "{} did not end within {}; raise --timeout",
            path.display(),
            humantime::format_duration(limit.unwrap_or_default())
        )),
    };
    let is_cut_off = !guest.is_finished();
    let closed = async {
        if is_cut_off {
            // It ends at its next wait or time slice, and drops its connections.
            guest.abort();
            let _ = guest.await;
        }
        // What the guest left open closes now.
        endpoint.closed().await;
    };
    // A second signal does not wait for that. A guest that has ended keeps its exit code.
    tokio::select! {
        () = closed => {}
        code = stop.next() => if is_cut_off { ended = Ok(code) },
    }
    ended
}

fn wasi(arguments: &Arguments, [stdout, stderr]: [Output; 2]) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.inherit_stdin().stdout(stdout).stderr(stderr).arg(arguments.guest.display().to_string());
    wasi.args(&arguments.args).envs(&arguments.environment.variables).build()
}

fn load(arguments: &Arguments) -> anyhow::Result<(InstancePre<Host>, Entry)> {
    let path = &arguments.guest;
    let shown = path.display();
    let (calls, engine, component) = match Guest::read(path)? {
        Guest::Component(bytes) => compiled(path, &bytes, &Cached::open(&arguments.cache))?,
        Guest::Precompiled(bytes) => match Trusted::given(&arguments.trust) {
            Some(trusted) => precompiled::load(&bytes, &trusted).with_context(|| {
                format!("{shown} cannot be run by this program on this machine; compile the guest again")
            })?,
            None => bail!(
                "{shown} is precompiled, and would be run as machine code: if it comes from `websocket-provider \
                 compile` and nobody else could change it, add --allow-precompiled"
            ),
        },
        Guest::Module(module) => bail!("{shown} is a core module, and `run` takes components: {}", module.advice(path)),
    };
    let entry = choose(&entries(&engine, &component), arguments.call.as_deref())
        .map_err(|why| nothing_to_run(&engine, &component, path, &why))?;
    let pre = link(calls, &engine, &component, path)?;
    Ok((pre, entry))
}

fn link(calls: Calls, engine: &Engine, component: &Component, path: &Path) -> anyhow::Result<InstancePre<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    add_only_http_to_linker_async(&mut linker)?;
    if calls == Calls::Concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    add_to_linker(&mut linker)?;
    linker.instantiate_pre(component).map_err(|error| cannot_link(engine, component, path, error))
}

/// Whether this program has everything that a component imports.
///
/// # Errors
/// What it does not have.
pub(crate) fn check_imports(calls: Calls, engine: &Engine, component: &Component, path: &Path) -> anyhow::Result<()> {
    link(calls, engine, component, path).map(drop)
}

fn nothing_to_run(engine: &Engine, component: &Component, path: &Path, why: &str) -> anyhow::Error {
    let exports: Vec<_> = component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    anyhow!(
        "cannot run {}: {why}. It exports {exports}; `run` drives wasi:cli/run of WASI 0.2 and 0.3, and interfaces with a function \
         `{CALL}: func() -> string`",
        path.display()
    )
}

fn cannot_link(engine: &Engine, component: &Component, path: &Path, error: wasmtime::Error) -> anyhow::Error {
    let shown = path.display();
    let imports = component.component_type();
    let foreign = imports.imports(engine).map(|(name, _)| name).find(|name| {
        let version = name.strip_prefix("wasmcloud:websocket/").and_then(|rest| rest.split_once('@'));
        version.is_some_and(|(_, version)| !VERSIONS.contains(&version))
    });
    match foreign {
        Some(import) => anyhow!(
            "{shown} imports {import}, and this program has wasmcloud:websocket in the versions {}; build the guest \
             against one of them",
            VERSIONS.join(" and ")
        ),
        None => anyhow::Error::from(error).context(format!("{shown} imports what this program does not have")),
    }
}

/// Instantiates the guest and drives its entry; gives the exit code.
async fn drive(pre: &InstancePre<Host>, entry: Entry, host: Host) -> wasmtime::Result<i32> {
    let mut store = Store::new(pre.engine(), host);
    store.limiter(|host| &mut host.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let outcome = match entry {
        Entry::Command(interface) => {
            let done = invoke::<(Result<(), ()>,)>(&mut store, pre, &interface, "run").await;
            done.map(|(outcome,)| i32::from(outcome.is_err()))
        }
        Entry::Call(interface) => match invoke::<(String,)>(&mut store, pre, &interface, CALL).await {
            Ok((text,)) => answer(text).map(|()| 0).map_err(wasmtime::Error::from_anyhow),
            Err(error) => Err(error),
        },
    };
    match outcome {
        Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error),
        code => code,
    }
}

/// Calls a function without parameters of an exported interface.
async fn invoke<R: ComponentNamedList + Lift + Send + Sync + 'static>(
    store: &mut Store<Host>,
    pre: &InstancePre<Host>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<R> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let missing = || wasmtime::Error::msg(format!("the instance has no function {function} in {interface}"));
    let interface = instance.get_export_index(&mut *store, None, interface).ok_or_else(missing)?;
    let index = instance.get_export_index(&mut *store, Some(&interface), function).ok_or_else(missing)?;
    instance.get_typed_func::<(), R>(&mut *store, index)?.call_async(&mut *store, ()).await
}

/// One paragraph for a guest that did not end by itself. What it was doing is for the log: the way
/// through its functions has a line for each.
fn explain(guest: &str, error: wasmtime::Error) -> anyhow::Error {
    tracing::debug!("{error:?}");
    match error.downcast_ref::<Trap>() {
        Some(trap) => anyhow!("{guest} trapped: {trap}. Its own messages are above; RUST_LOG=debug shows where it was"),
        None => anyhow!("{guest} failed: {}", error.root_cause()),
    }
}
