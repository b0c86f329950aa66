//! `serve`: a core module of the pointer-payload ABI as an HTTP server, with the WebSockets that it upgrades to.

use crate::{
    address, answer,
    compile::{EACH_START, while_telling},
    config::{Scope, SettingFlags},
    engine::{Calls, engine},
    env::{Environment, Variable},
    guest::Guest,
    listen::{self, TlsFiles},
    output::Output,
    stop::{StopRequests, outlive_size_limits},
};
use anyhow::{Context, anyhow};
use clap::{Args, value_parser};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use wasmtime_wasi::{WasiCtxBuilder, p1::WasiP1Ctx};
use websocket_abi_bridge::{EmbeddedStores, Limits, Module, Options, Server};
use websocket_connection::{Concerns, Endpoint, Setting, parse_size, parse_time_limit};
use websocket_listener::{Service, asked_to_stop};

/// Idle sockets are looked at this often; the keep-alive finds the dead ones.
const RECEIVE_WAIT: Duration = Duration::from_secs(3600);
/// The schemes of `--listen`, for error messages.
const SCHEMES: &str = "it serves http:// and ws://, and with --tls-cert and --tls-key https:// and wss://";
/// Serves HTTP and WebSockets with a core module of the pointer-payload ABI; Ctrl-C closes with 1001
#[derive(Args)]
#[command(after_help = "Example: websocket-provider serve --listen 127.0.0.1:8080 chat_room.wasm")]
pub(crate) struct Arguments {
    /// The module that answers requests
    #[arg(value_name = "GUEST.wasm", value_parser = address::file())]
    guest: PathBuf,
    /// Where to listen, as ADDRESS:PORT; port 0 chooses a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = address::listen(SCHEMES))]
    listen: String,
    #[command(flatten)]
    tls: TlsFiles,
    /// Number of instances; each has its own memory and its own sockets
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = value_parser!(u16).range(1..))]
    instances: u16,
    /// How long one call of an instance may take before it is ended
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_time_limit)]
    callback_timeout: Duration,
    /// Limit of the memory of each instance
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory_limit: usize,
    /// File for the guest's stores; by default, they are in memory
    #[arg(long, value_name = "FILE", value_parser = address::file())]
    store: Option<PathBuf>,
    #[command(flatten)]
    environment: Environment,
    #[command(flatten)]
    settings: SettingFlags<Accepting>,
}

/// The settings of connections that are accepted, but for the wait, which is [`RECEIVE_WAIT`].
struct Accepting;

impl Scope for Accepting {
    fn has(setting: &Setting) -> bool {
        matches!(setting.concerns, Concerns::Accepted | Concerns::Both) && setting.name != "receive-wait"
    }
}

#[derive(Clone)]
struct Pages(Arc<Server>);

impl Service for Pages {
    async fn answer(&self, request: Request<Incoming>, secure: bool) -> Response<Full<Bytes>> {
        self.0.answer(request, secure).await
    }
}

/// Serves until a signal comes; gives the exit code.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<i32> {
    let path = &arguments.guest;
    let tls = arguments.tls.config()?;
    let module = load(path)?;
    let options = options(arguments)?;
    let mut stop = StopRequests::listen().context("cannot listen for signals")?;
    let mut listener = listen::bind("listen", &arguments.listen).await?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(tls) = tls {
        listener = listener.with_tls(tls);
    }
    let starting = Server::start(module, options);
    let server = tokio::select! {
        started = starting => started.map_err(|error| anyhow!("{}: {error}", path.display()))?,
        code = stop.next() => return Ok(code),
    };
    let server = Arc::new(server);
    answer(format!("listening on {scheme}://{address}/"))?;
    let (end, ending) = watch::channel(false);
    let mut ends = ending.clone();
    let serving = async {
        let listening = async {
            let served = listener.serve(Pages(Arc::clone(&server)), ending).await;
            end.send_replace(true);
            served
        };
        let closing = async {
            asked_to_stop(&mut ends).await;
            server.stop().await;
        };
        Ok(tokio::join!(listening, closing).0?)
    };
    stop.serve(&end, serving).await
}

fn load(path: &Path) -> anyhow::Result<Module> {
    let guest = Guest::read(path)?;
    let module = guest.module_for("serve", "core modules of the pointer-payload ABI", path)?;
    let engine = engine(Calls::Sequential)?;
    let loaded = while_telling(path, &module.bytes, EACH_START, || Module::load(&engine, &module.bytes));
    loaded.map_err(|error| module.not_loaded(path, &error, module.hands_over_payloads()))
}

fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let mut settings = arguments.settings.settings()?;
    settings.receive_wait = RECEIVE_WAIT;
    let stores = match &arguments.store {
        Some(path) => {
            outlive_size_limits().context("cannot listen for the signal of a limit on the size of files")?;
            EmbeddedStores::file(path)?
        }
        None => EmbeddedStores::in_memory()?,
    };
    Ok(Options {
        name: arguments.guest.display().to_string(),
        instances: arguments.instances.into(),
        limits: Limits { memory: arguments.memory_limit, callback: arguments.callback_timeout },
        endpoint: Endpoint::new(settings)?,
        stores: Arc::new(stores),
        wasi: wasi(&arguments.guest, arguments.environment.variables.clone()),
    })
}

fn wasi(path: &Path, variables: Vec<Variable>) -> Box<dyn Fn() -> WasiP1Ctx + Send + Sync> {
    let name = path.display().to_string();
    Box::new(move || {
        let mut wasi = WasiCtxBuilder::new();
        // Each instance has streams of its own: they wait for one another only where they write.
        wasi.arg(&name).stdout(Output::stdout()).stderr(Output::stderr()).envs(&variables);
        wasi.build_p1()
    })
}
