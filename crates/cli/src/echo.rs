//! `echo`: a WebSocket server that sends every message back, to develop guests against.

use crate::{answer, stop::StopRequests};
use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};
use tracing::Instrument;
use websocket_connection::{Connection, Endpoint, Message, Settings};

pub(crate) fn command() -> Command {
    Command::new("echo")
        .about("Serves WebSockets that send every message back; Ctrl-C closes them with 1001")
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR")
                .default_value("127.0.0.1:0")
                .help("Where to listen; port 0 takes a free one"),
        )
        .arg(
            Arg::new("tls")
                .long("tls")
                .action(ArgAction::SetTrue)
                .help("Serve wss:// under a throw-away authority, whose certificate's path is printed"),
        )
}

pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let address = matches.get_one::<String>("listen").context("no address is given")?;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; pass --listen another ADDRESS:PORT, port 0 for a free one")
    })?;
    let address = listener.local_addr()?;
    let mut stop = StopRequests::listen().context("cannot listen for Ctrl-C")?;
    let authority = if matches.get_flag("tls") { Some(Authority::new(address)?) } else { None };
    match &authority {
        None => answer(format!("listening on ws://{address}/"))?,
        Some(authority) => {
            answer(format!("certificate authority: {}", authority.certificate_path().display()))?;
            answer(format!("listening on wss://{address}/"))?;
        }
    }
    // Every client of the server counts as one guest.
    let mut settings = Settings::default();
    settings.max_connections = settings.max_connections_total;
    settings.max_message_size = settings.max_message_size_limit;
    // Clients may be silent for as long as they like; the keep-alive finds the dead ones.
    settings.receive_wait = Duration::from_secs(3600);
    let endpoint = Endpoint::new(settings)?;
    let tls = authority.as_ref().map(|authority| &authority.acceptor);
    tokio::select! {
        served = serve(&listener, tls, &endpoint) => served.context("cannot accept connections")?,
        () = stop.next() => {}
    }
    endpoint.closed().await;
    Ok(())
}

/// Accepts for ever; dropped, it drops every connection.
async fn serve(listener: &TcpListener, tls: Option<&TlsAcceptor>, endpoint: &Endpoint) -> io::Result<()> {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    let (tls, endpoint) = (tls.cloned(), endpoint.clone());
                    let serve = async move {
                        if let Err(error) = client(tcp, tls, endpoint).await {
                            tracing::info!("{error:#}");
                        }
                    };
                    clients.spawn(serve.instrument(tracing::warn_span!("client", %peer)));
                }
                Err(error) => {
                    // Out of descriptors, most likely, until a client goes.
                    tracing::warn!(%error, "cannot accept a connection");
                    if clients.join_next().await.is_none() {
                        return Err(error);
                    }
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn client(tcp: TcpStream, tls: Option<TlsAcceptor>, endpoint: Endpoint) -> anyhow::Result<()> {
    tcp.set_nodelay(true)?;
    match tls {
        None => upgrade(tcp, endpoint).await,
        Some(tls) => upgrade(tls.accept(tcp).await.context("TLS failed")?, endpoint).await,
    }
}

/// Serves one HTTP request, and the WebSocket that it becomes.
async fn upgrade(
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    endpoint: Endpoint,
) -> anyhow::Result<()> {
    let (hand_over, mut upgrades) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (hand_over, endpoint) = (hand_over.clone(), endpoint.clone());
        async move {
            let response = match endpoint.upgrade(&mut request) {
                Ok(mut upgrade) => {
                    if let Some(first) = upgrade.subprotocols().first().cloned() {
                        upgrade.choose(&first);
                    }
                    let response = upgrade.response::<String>();
                    // Nobody is there to take it only when the server stops.
                    let _ = hand_over.send(upgrade).await;
                    response
                }
                Err(refusal) => refusal.response(),
            };
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new().serve_connection(TokioIo::new(transport), service).with_upgrades().await?;
    match upgrades.recv().await {
        Some(upgrade) => echo(upgrade.accept().await?).await,
        None => Ok(()),
    }
}

async fn echo(connection: Connection) -> anyhow::Result<()> {
    loop {
        match connection.receive().await? {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => connection.send(message).await?,
            Some(Message::Close(_)) => return Ok(()),
            // The connection has answered the ping.
            Some(Message::Ping(_) | Message::Pong(_)) | None => {}
        }
    }
}

/// A certificate authority that lives as long as the server, and what it signed for it.
struct Authority {
    folder: TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "websocket-provider echo, for development only");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let names = ["localhost", "127.0.0.1", "::1", &address.ip().to_string()].map(ToOwned::to_owned);
        let certificate = CertificateParams::new(names)?.signed_by(&key, &Issuer::from_params(&params, &ca_key))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let folder = TempDir::with_prefix("websocket-provider-")?;
        let authority = Authority { folder, acceptor: TlsAcceptor::from(Arc::new(config)) };
        std::fs::write(authority.certificate_path(), ca.pem())?;
        Ok(authority)
    }

    fn certificate_path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
