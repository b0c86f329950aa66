//! `echo`: a WebSocket server that sends every message back, to develop guests against.

use crate::{address, answer, config, listen, stop::StopRequests};
use anyhow::Context;
use clap::Args;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::sync::watch;
use tracing::Instrument;
use websocket_connection::{Connection, Endpoint, Error, Message, Settings, Upgrade};
use websocket_listener::{Service, asked_to_stop, tls};

/// The schemes of `--listen`, for error messages.
const SCHEMES: &str = "it serves ws://, and wss:// with --tls";
/// The setting of the core that is a flag here.
const ALLOW_ORIGIN: &str = "allow-origin";

/// Serves WebSockets that send every message back; Ctrl-C closes them with 1001
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to listen, as ADDRESS:PORT; port 0 chooses a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address::listen(SCHEMES))]
    listen: String,
    /// Serve wss:// with a temporary certificate authority, and print the path of its certificate
    #[arg(long)]
    tls: bool,
    /// An origin whose pages may connect, in addition to the server's own; by default, any may
    #[arg(long, value_name = "ORIGIN", value_parser = config::checked(ALLOW_ORIGIN))]
    allow_origin: Vec<String>,
}

/// Serves until a signal comes; gives the exit code.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<i32> {
    let stop = StopRequests::listen().context("cannot listen for signals")?;
    let mut listener = listen::bind("listen", &arguments.listen).await?;
    let address = listener.local_addr()?;
    // Its certificate's file is there as long as this is.
    let _authority = if arguments.tls {
        let (authority, config) = Authority::new(address)?;
        listener = listener.with_tls(config);
        answer(format!("certificate authority: {}", authority.certificate_path().display()))?;
        answer(format!("listening on wss://{address}/"))?;
        Some(authority)
    } else {
        answer(format!("listening on ws://{address}/"))?;
        None
    };
    // Every client of the server counts as one guest.
    let mut settings = Settings::default();
    settings.max_connections = settings.max_connections_total;
    settings.max_message_size = settings.max_message_size_limit;
    // Clients may be silent for as long as they like; the keep-alive finds the dead ones.
    settings.receive_wait = Duration::from_secs(3600);
    // Pages under development have any origin, and nothing here is worth protecting from one.
    let all = ["*".to_owned()];
    for origin in if arguments.allow_origin.is_empty() { &all } else { &arguments.allow_origin[..] } {
        settings.set(ALLOW_ORIGIN, origin)?;
    }
    let endpoint = Endpoint::new(settings)?;
    let (end, ending) = watch::channel(false);
    let service = Echo { endpoint: endpoint.clone(), stop: ending.clone() };
    let serving = async {
        let served = listener.serve(service, ending).await;
        // No request can become a WebSocket any more.
        end.send_replace(true);
        endpoint.closed().await;
        Ok(served?)
    };
    stop.serve(&end, serving).await
}

#[derive(Clone)]
struct Echo {
    endpoint: Endpoint,
    stop: watch::Receiver<bool>,
}

impl Service for Echo {
    async fn answer(&self, mut request: Request<Incoming>, secure: bool) -> Response<Full<Bytes>> {
        let mut upgrade = match self.endpoint.upgrade(&mut request, secure) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return refusal.response(),
        };
        if let Some(first) = upgrade.subprotocols().first().cloned() {
            upgrade.choose(&first);
        }
        let response = upgrade.response();
        let stop = self.stop.clone();
        let echoing = async move { accept(upgrade, stop).await.unwrap_or_else(|error| tracing::info!("{error:#}")) };
        tokio::spawn(echoing.in_current_span());
        response
    }
}

async fn accept(upgrade: Upgrade, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    // To its end: a client that gets the response gets a close frame as well.
    let connection = upgrade.accept().await?;
    tokio::select! {
        ended = echo(&connection) => ended,
        // Dropped, the connection closes with 1001.
        () = asked_to_stop(&mut stop) => Ok(()),
    }
}

async fn echo(connection: &Connection) -> Result<(), Error> {
    loop {
        match connection.receive().await? {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => connection.send(&message).await?,
            Some(Message::Close(_)) => return Ok(()),
            // The connection has answered the ping.
            Some(Message::Ping(_) | Message::Pong(_)) | None => {}
        }
    }
}

/// A certificate authority that lives as long as the server, and what it signed for it.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new(address: SocketAddr) -> anyhow::Result<(Self, ServerConfig)> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "websocket-provider echo, for development only");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let names = ["localhost", "127.0.0.1", "::1", &address.ip().to_string()].map(ToOwned::to_owned);
        let certificate = CertificateParams::new(names)?.signed_by(&key, &Issuer::from_params(&params, &ca_key))?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = tls::config(vec![certificate.der().clone()], private)?;
        let folder = TempDir::with_prefix("websocket-provider-")?;
        let authority = Authority { folder };
        std::fs::write(authority.certificate_path(), ca.pem())?;
        Ok((authority, config))
    }

    fn certificate_path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
