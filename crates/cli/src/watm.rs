//! `watm`: transports between callers over TCP and a network that is TCP or WebSockets.

use crate::{
    Usage,
    address::{self, Place, Schemes, Use},
    answer,
    compile::{EACH_START, while_telling},
    config::{Scope, SettingFlags},
    engine::{Calls, engine},
    guest::Guest,
    listen::{self, TlsFiles},
    stop::StopRequests,
};
use anyhow::{Context, anyhow, bail};
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch};
use tracing::Instrument;
use websocket_connection::{Concerns, ConnectConfig, Endpoint, Error, Setting, Settings};
use websocket_listener::{Listener, Service, asked_to_stop};
use websocket_watm::{
    self as watm, Dialer, Limits, Listener as Accepter, Module, Options, Relay as Relayer, RoleError, RunError,
    Running, Transport, WebSocketTransport,
};

/// How long a transport has to return once it was cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// The most that a configuration may have, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// Idle sockets are looked at this often; the keep-alive finds the dead ones.
const RECEIVE_WAIT: Duration = Duration::from_secs(3600);

/// The settings without effect on a transport: the wait is [`RECEIVE_WAIT`], and all connections count as one guest's.
const NOT_OURS: [&str; 2] = ["receive-wait", "max-connections"];
/// Those that concern only TLS of connections that are dialled.
const TLS_CLIENT: [&str; 3] = ["ca-cert", "client-cert", "client-key"];
/// What grants every address: the operator, and no guest, names where to go.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Runs a WATM v0 transport over TCP or WebSockets
#[derive(Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example: websocket-provider watm dial plain.wasm --local tcp://127.0.0.1:9000 --remote wss://example.com/t"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    role: RoleArguments,
}

#[derive(Subcommand)]
enum RoleArguments {
    /// Accepts callers over TCP and connects them to the network
    Dial(Ends<Dial>),
    /// Accepts connections from the network and connects them to a server over TCP
    Listen(Ends<Listen>),
    /// Accepts connections from the network and connects them to another network address
    Relay(Ends<Relay>),
}

#[derive(Args)]
struct Ends<R: Kind> {
    /// The transport
    #[arg(value_name = "MODULE.wasm", value_parser = address::file())]
    module: PathBuf,
    #[arg(long, value_name = "ADDR", help = help(R::LOCAL), value_parser = address::end("local", R::LOCAL.0, Use::Accept))]
    local: Place,
    #[arg(long, value_name = "ADDR", help = help(R::REMOTE), value_parser = address::end("remote", R::REMOTE.0, Use::Dial))]
    remote: Place,
    /// The file that the transport reads as its configuration
    #[arg(long, value_name = "FILE", value_parser = address::file())]
    config_file: Option<PathBuf>,
    #[command(flatten)]
    tls: R::Tls,
    #[command(flatten)]
    settings: SettingFlags<R>,
}

/// The schemes of an end, and what the end is for.
type End = (Schemes, &'static str);

fn help((schemes, what): End) -> String {
    format!("{what}: {}", schemes.forms())
}

/// A role of the command line.
trait Kind: Send + Sync + 'static {
    const LOCAL: End;
    const REMOTE: End;
    /// The flags of the certificate that is served at the local end.
    type Tls: Args + Into<TlsFiles>;

    fn role(transport: &Module, options: Options) -> Result<Role, RoleError>;
}

impl<R: Kind> Scope for R {
    fn has(setting: &Setting) -> bool {
        let concerns = match setting.concerns {
            Concerns::Dialled => R::REMOTE.0 == Schemes::TcpOrWebSocket || !TLS_CLIENT.contains(&setting.name),
            Concerns::Accepted => R::LOCAL.0 == Schemes::TcpOrWebSocket,
            Concerns::Both => true,
            _ => false,
        };
        concerns && !NOT_OURS.contains(&setting.name)
    }
}

/// No flags: a role whose local end is TCP.
#[derive(Args)]
struct NoTls {}

impl From<NoTls> for TlsFiles {
    fn from(_: NoTls) -> Self {
        TlsFiles::default()
    }
}

struct Dial;

impl Kind for Dial {
    const LOCAL: End = (Schemes::Tcp, "Where callers connect");
    const REMOTE: End = (Schemes::TcpOrWebSocket, "Where the network is");
    type Tls = NoTls;

    fn role(transport: &Module, options: Options) -> Result<Role, RoleError> {
        Dialer::new(transport, options).map(Role::Dial)
    }
}

struct Listen;

impl Kind for Listen {
    const LOCAL: End = (Schemes::TcpOrWebSocket, "Where the network connects");
    const REMOTE: End = (Schemes::Tcp, "Where the server is");
    type Tls = TlsFiles;

    fn role(transport: &Module, options: Options) -> Result<Role, RoleError> {
        Accepter::new(transport, options).map(Role::Listen)
    }
}

struct Relay;

impl Kind for Relay {
    const LOCAL: End = (Schemes::TcpOrWebSocket, "Where the network connects");
    const REMOTE: End = (Schemes::TcpOrWebSocket, "The next address of the network");
    type Tls = TlsFiles;

    fn role(transport: &Module, options: Options) -> Result<Role, RoleError> {
        Relayer::new(transport, options).map(Role::Relay)
    }
}

/// What a connection is opened with.
enum Role {
    Dial(Dialer),
    Listen(Accepter),
    Relay(Relayer),
}

struct Host {
    role: Role,
    remote: Place,
    endpoint: Endpoint,
    stop: watch::Receiver<bool>,
}

/// Runs a transport until a signal comes; gives the exit code.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<i32> {
    match arguments.role {
        RoleArguments::Dial(ends) => run_role(ends).await,
        RoleArguments::Listen(ends) => run_role(ends).await,
        RoleArguments::Relay(ends) => run_role(ends).await,
    }
}

async fn run_role<R: Kind>(ends: Ends<R>) -> anyhow::Result<i32> {
    let Ends { module, local, remote, config_file, tls, settings } = ends;
    let tls = tls.into();
    check_tls(&local, &tls)?;
    let mut settings = settings.settings()?;
    settings.receive_wait = RECEIVE_WAIT;
    let role = load::<R>(&module, options(config_file.as_deref(), &settings)?)?;
    settings.allow.clear();
    for rule in EVERYWHERE.into_iter().chain([remote.authority().as_str()]) {
        settings.set("allow", rule).map_err(|error| Usage(format!("--remote {remote}: {error}")))?;
    }
    let endpoint = Endpoint::new(settings)?;
    let stop = StopRequests::listen().context("cannot listen for signals")?;
    let (end, ending) = watch::channel(false);
    let mut listener = listen::bind("local", &local.authority()).await?;
    if let Some(tls) = tls.config()? {
        listener = listener.with_tls(tls);
    }
    let address = listener.local_addr()?;
    let host = Arc::new(Host { role, remote, endpoint: endpoint.clone(), stop: ending.clone() });
    let shown = match &local {
        Place::Tcp(_) => format!("tcp://{address}"),
        Place::WebSocket(url) => format!("{}://{address}{}", url.scheme(), url.path()),
    };
    answer(format!("listening on {shown}"))?;
    let serving = async {
        let served = serve(&listener, &local, host, ending).await;
        end.send_replace(true);
        // Every connection holds a receiver for as long as it is there.
        end.closed().await;
        endpoint.closed().await;
        served
    };
    stop.serve(&end, serving).await
}

/// TLS is spoken where the address says so, and only there.
fn check_tls(local: &Place, tls: &TlsFiles) -> Result<(), Usage> {
    match (local.is_secure(), tls.are_given()) {
        (true, false) => Err(Usage(format!("--local {local} needs a certificate: give --tls-cert and --tls-key"))),
        (false, true) => {
            Err(Usage(format!("--local {local} has no TLS: write wss://, or leave --tls-cert and --tls-key out")))
        }
        _ => Ok(()),
    }
}

fn options(config: Option<&Path>, settings: &Settings) -> anyhow::Result<Options> {
    let limits = Limits { writing: settings.write_timeout, closing: settings.close_timeout, ..Limits::default() };
    Ok(Options { config: config.map(config_file).transpose()?, limits })
}

fn config_file(path: &Path) -> anyhow::Result<Bytes> {
    let mut config = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_end(&mut config));
    let shown = path.display();
    read.with_context(|| {
        format!("cannot read the transport's configuration {shown}; give --config-file a file that can be read")
    })?;
    if config.len() as u64 > MAX_CONFIG {
        bail!("the transport's configuration {shown} is larger than {}", ByteSize(MAX_CONFIG));
    }
    Ok(config.into())
}

fn load<R: Kind>(path: &Path, options: Options) -> anyhow::Result<Role> {
    let shown = path.display();
    let guest = Guest::read(path)?;
    let module = guest.module_for("watm", "WATM v0 transports, which are core modules", path)?;
    let engine = engine(Calls::Sequential)?;
    let transport = while_telling(path, &module.bytes, EACH_START, || Module::load(&engine, &module.bytes));
    let transport = transport.map_err(|error| module.not_loaded(path, &error, module.is_transport()))?;
    if options.config.is_some() && !transport.reads_config() {
        bail!("{shown} does not import `env.pull_config`, and so cannot read a configuration: leave --config-file out");
    }
    R::role(&transport, options).map_err(|error| anyhow!("{shown}: {error}"))
}

async fn serve(listener: &Listener, local: &Place, host: Arc<Host>, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let served = match local {
        Place::WebSocket(url) => listener.serve(Upgrades { host, path: url.path().into() }, stop).await,
        Place::Tcp(_) => {
            let client = |tcp: TcpStream| {
                let host = Arc::clone(&host);
                async move {
                    match tcp.set_nodelay(true) {
                        Ok(()) => host.connection(tcp).await,
                        Err(error) => tracing::info!(%error, "a caller has gone"),
                    }
                }
            };
            listener.serve_tcp(host.endpoint.settings().max_connections, client, stop).await
        }
    };
    Ok(served?)
}

/// Requests of the network for a WebSocket.
#[derive(Clone)]
struct Upgrades {
    host: Arc<Host>,
    path: Arc<str>,
}

impl Service for Upgrades {
    async fn answer(&self, mut request: Request<Incoming>, secure: bool) -> Response<Full<Bytes>> {
        if request.uri().path() != &*self.path {
            let mut response = Response::new(Full::from("there is nothing here\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        match self.host.endpoint.upgrade(&mut request, secure) {
            Ok(upgrade) => {
                let response = upgrade.response();
                let host = Arc::clone(&self.host);
                let accepted = async move {
                    match upgrade.accept().await {
                        Ok(connection) => {
                            let stop = host.stop.clone();
                            host.connection(WebSocketTransport::new(connection).going_away_when(stop)).await;
                        }
                        Err(error) => tracing::info!(%error, "a client was not upgraded"),
                    }
                };
                tokio::spawn(accepted.in_current_span());
                response
            }
            Err(refusal) => refusal.response(),
        }
    }
}

type Dialled = BoxFuture<'static, io::Result<Box<dyn Transport>>>;

impl Host {
    /// Serves a connection that was accepted, to its end.
    async fn connection(&self, accepted: impl Transport) {
        let mut stop = self.stop.clone();
        let outcome = async {
            let mut running = tokio::select! {
                opened = self.open(accepted) => opened?,
                () = asked_to_stop(&mut stop) => return Ok(()),
            };
            tokio::select! {
                ended = running.ended() => {
                    let end = ended?;
                    match end {
                        watm::End::Normal | watm::End::Cancelled | watm::End::PeerGone => tracing::debug!(?end, "a connection ended"),
                        watm::End::Code(code) => tracing::info!("`_water_worker` of the transport gave {code}"),
                    }
                    return Ok(());
                }
                () = asked_to_stop(&mut stop) => {}
            }
            running.cancel(CANCEL_WAIT).await?;
            anyhow::Ok(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!("a connection to {} failed: {error:#}", self.remote);
        }
    }

    async fn open(&self, accepted: impl Transport) -> anyhow::Result<Running> {
        let opened: Result<Running, RunError> = match &self.role {
            Role::Dial(dialer) => dialer.open(accepted, self.dial()).await,
            Role::Relay(relay) => relay.open(accepted, self.dial()).await,
            Role::Listen(listener) => {
                let caller = self.endpoint.connect_tcp(&self.remote.authority()).await.map_err(Error::from)?;
                listener.open(caller, accepted).await
            }
        };
        Ok(opened?)
    }

    fn dial(&self) -> impl FnMut() -> Dialled + Send + 'static {
        let (endpoint, remote, stop) = (self.endpoint.clone(), self.remote.clone(), self.stop.clone());
        move || {
            let (endpoint, remote, stop) = (endpoint.clone(), remote.clone(), stop.clone());
            Box::pin(async move {
                let dialled: Result<Box<dyn Transport>, _> = match remote {
                    Place::Tcp(authority) => endpoint.connect_tcp(&authority).await.map(|tcp| Box::new(tcp) as _),
                    Place::WebSocket(url) => {
                        let config = ConnectConfig::new(url);
                        let transport = |connection| WebSocketTransport::new(connection).going_away_when(stop);
                        endpoint.connect(config).await.map(|connection| Box::new(transport(connection)) as _)
                    }
                };
                dialled.map_err(io::Error::other)
            })
        }
    }
}
