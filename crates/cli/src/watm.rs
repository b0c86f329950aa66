//! `watm`: transports between callers over TCP and a network that is TCP or WebSockets.

use crate::{
    answer, config,
    engine::{Calls, engine},
    guest::Guest,
    listen::{Listener, Service, tls_of_files},
    stop::StopRequests,
};
use anyhow::{Context, anyhow, bail};
use bytesize::ByteSize;
use clap::{Arg, ArgMatches, Command};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch};
use tracing::Instrument;
use url::Url;
use websocket_abi_bridge::watm::{
    Dialer, End, Listener as Accepter, Module, Options, Relay, RunError, Running, Transport, WebSocketTransport,
};
use websocket_connection::{ConnectConfig, Endpoint, Error, Settings};

/// How long a transport has to end once it was cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// The most that a configuration may have, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// Idle sockets are looked at this often; the keep-alive finds the dead ones.
const RECEIVE_WAIT: Duration = Duration::from_secs(3600);

/// The roles: name, what it is, what `--local` and `--remote` are.
const ROLES: [(&str, &str, &str, &str); 3] = [
    (
        "dial",
        "Takes callers over TCP to the network",
        "Where callers connect: tcp://HOST:PORT",
        "Where the network is: tcp://HOST:PORT, ws://… or wss://…",
    ),
    (
        "listen",
        "Brings connections of the network to a server over TCP",
        "Where the network connects: tcp://HOST:PORT, ws://HOST:PORT/PATH or wss://…",
        "Where the server is: tcp://HOST:PORT",
    ),
    (
        "relay",
        "Joins connections of the network with others of it",
        "Where the network connects: tcp://HOST:PORT, ws://HOST:PORT/PATH or wss://…",
        "Where the network goes on: tcp://HOST:PORT, ws://… or wss://…",
    ),
];

pub(crate) fn command() -> Command {
    let roles = ROLES.iter().map(|(name, about, local, remote)| role(name, about, local, remote));
    Command::new("watm")
        .about("Runs a WATM v0 transport over TCP or WebSockets")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help("Example: websocket-provider watm dial plain.wasm --local tcp://127.0.0.1:9000 --remote wss://example.com/t")
        .subcommands(roles)
}

fn role(name: &'static str, about: &'static str, local: &'static str, remote: &'static str) -> Command {
    let address = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("ADDR").required(true).value_parser(place).help(help)
    };
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(help)
    };
    let mut command = Command::new(name)
        .about(about)
        .arg(
            Arg::new("module")
                .value_name("MODULE.wasm")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The transport"),
        )
        .arg(address("local", local))
        .arg(address("remote", remote))
        .arg(file("config-file", "What the transport gets as its configuration"));
    if name != "dial" {
        command = command
            .arg(file("tls-cert", "A PEM file with the certificate chain to accept wss:// with").requires("tls-key"))
            .arg(file("tls-key", "A PEM file with the private key of --tls-cert").requires("tls-cert"));
    }
    config::arguments(command, |_| true)
}

/// An end of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Host and port.
    Tcp(String),
    WebSocket(Url),
}

fn place(text: &str) -> Result<Place, String> {
    let hint = "write tcp://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH";
    let url = Url::parse(text).map_err(|error| format!("{error}; {hint}"))?;
    match (url.scheme(), url.host_str(), url.port()) {
        ("tcp", Some(host), Some(port)) if matches!(url.path(), "" | "/") => Ok(Place::Tcp(format!("{host}:{port}"))),
        ("ws" | "wss", Some(_), _) => Ok(Place::WebSocket(url)),
        _ => Err(hint.to_owned()),
    }
}

impl Place {
    fn authority(&self) -> String {
        match self {
            Place::Tcp(authority) => authority.clone(),
            Place::WebSocket(url) => {
                let port = url.port_or_known_default().unwrap_or_default();
                format!("{}:{port}", url.host_str().unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(authority) => write!(f, "tcp://{authority}"),
            Place::WebSocket(url) => write!(f, "{url}"),
        }
    }
}

/// What a connection is opened with.
enum Role {
    Dial(Dialer),
    Listen(Accepter),
    Relay(Relay),
}

struct Host {
    role: Role,
    remote: Place,
    endpoint: Endpoint,
    stop: watch::Receiver<bool>,
}

pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (name, matches) = matches.subcommand().context("no role is named")?;
    let named = |name| matches.get_one::<Place>(name).cloned().context("an address is missing");
    let (local, remote) = (named("local")?, named("remote")?);
    let path = matches.get_one::<PathBuf>("module").context("no module is named")?;
    let role = load(name, path, options(matches)?)?;
    let mut settings = config::settings(matches)?;
    settings.receive_wait = RECEIVE_WAIT;
    let mut stop = StopRequests::listen().context("cannot listen for Ctrl-C")?;
    let (end, ending) = watch::channel(false);
    let listener = listen(name, &local, matches).await?;
    let address = listener.address()?;
    // Whoever names where to go allows it.
    settings.set("allow", &remote.authority()).with_context(|| format!("--remote {remote}"))?;
    let host = Arc::new(Host { role, remote, endpoint: endpoint(settings)?, stop: ending.clone() });
    let shown = match &local {
        Place::Tcp(_) => format!("tcp://{address}"),
        Place::WebSocket(url) => format!("{}://{address}{}", url.scheme(), url.path()),
    };
    answer(format!("listening on {shown}"))?;
    let mut serving = pin!(serve(&listener, &local, host, ending));
    let failed = tokio::select! {
        served = &mut serving => Some(served),
        () = stop.next() => None,
    };
    let ended = async {
        end.send_replace(true);
        let served = match failed {
            Some(failed) => failed,
            None => serving.await,
        };
        // Every connection holds a receiver for as long as it is there.
        end.closed().await;
        served
    };
    // Whoever does not want to wait for the transports asks once more.
    tokio::select! {
        served = ended => served,
        () = stop.next() => Ok(()),
    }
}

/// An endpoint whose limits are those of the whole program, which is one guest.
fn endpoint(mut settings: Settings) -> anyhow::Result<Endpoint> {
    settings.max_connections = settings.max_connections_total;
    Ok(Endpoint::new(settings)?)
}

fn options(matches: &ArgMatches) -> anyhow::Result<Options> {
    let path = matches.get_one::<PathBuf>("config-file");
    Ok(Options { config: path.map(|path| config_file(path)).transpose()?, ..Options::default() })
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

fn load(role: &str, path: &Path, options: Options) -> anyhow::Result<Role> {
    let shown = path.display();
    let module = match Guest::read(path)? {
        Guest::Component(_) | Guest::Precompiled(_) => {
            bail!("{shown} is a component, and transports are core modules: use `run`")
        }
        Guest::Module(module) => Module::load(&engine(Calls::Sequential, None)?, &module.bytes)
            .map_err(|error| anyhow!("{shown}: {error}"))?,
    };
    let role = match role {
        "dial" => Dialer::new(&module, options).map(Role::Dial),
        "listen" => Accepter::new(&module, options).map(Role::Listen),
        _ => Relay::new(&module, options).map(Role::Relay),
    };
    role.map_err(|error| anyhow!("{shown}: {error}"))
}

async fn listen(role: &str, local: &Place, matches: &ArgMatches) -> anyhow::Result<Listener> {
    if let (Place::WebSocket(_), "dial") = (local, role) {
        bail!("callers connect over TCP: write --local tcp://{}", local.authority());
    }
    let listener = Listener::bind(&local.authority()).await.context("--local")?;
    let Place::WebSocket(url) = local else { return Ok(listener) };
    let files = ["tls-cert", "tls-key"].map(|file| matches.get_one::<PathBuf>(file));
    match (url.scheme(), files) {
        ("wss", [Some(certificate), Some(key)]) => Ok(listener.with_tls(tls_of_files(certificate, key)?)),
        ("wss", _) => bail!("{local} needs a certificate: give --tls-cert and --tls-key"),
        _ => Ok(listener),
    }
}

async fn serve(listener: &Listener, local: &Place, host: Arc<Host>, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    match local {
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
            listener.each(host.endpoint.settings().max_connections, client, stop).await
        }
    }
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
                        Ok(connection) => host.connection(WebSocketTransport::new(connection)).await,
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
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            tokio::select! {
                ended = running.ended() => {
                    let end = ended?;
                    match end {
                        End::Normal | End::Cancelled | End::PeerGone => tracing::debug!(?end, "a connection ended"),
                        End::Code(code) => tracing::info!("`_water_worker` of the transport gave {code}"),
                    }
                    return Ok(());
                }
                _ = stop.wait_for(|stop| *stop) => {}
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
        let (endpoint, remote) = (self.endpoint.clone(), self.remote.clone());
        move || {
            let (endpoint, remote) = (endpoint.clone(), remote.clone());
            Box::pin(async move {
                let dialled: Result<Box<dyn Transport>, _> = match remote {
                    Place::Tcp(authority) => endpoint.connect_tcp(&authority).await.map(|tcp| Box::new(tcp) as _),
                    Place::WebSocket(url) => {
                        let config = ConnectConfig { url: url.into(), ..ConnectConfig::default() };
                        endpoint
                            .connect(config)
                            .await
                            .map(|connection| Box::new(WebSocketTransport::new(connection)) as _)
                    }
                };
                dialled.map_err(io::Error::other)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        assert_eq!(place("tcp://localhost:80"), Ok(Place::Tcp("localhost:80".to_owned())));
        assert_eq!(place("tcp://[::1]:80").unwrap().authority(), "[::1]:80");
        assert_eq!(place("wss://example.com/t").unwrap().authority(), "example.com:443");
        for wrong in ["localhost:80", "tcp://localhost", "tcp://localhost:80/path", "http://localhost:80", "x"] {
            assert!(place(wrong).unwrap_err().contains("write tcp://HOST:PORT"), "{wrong}");
        }
    }
}
