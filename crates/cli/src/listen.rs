//! Listening: TCP, TLS over it, and HTTP/1.1 connections that stop when they are asked to.

use anyhow::{Context, anyhow, bail};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible, error::Error as _, io, net::SocketAddr, path::Path, pin::pin, sync::Arc, time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, crypto::aws_lc_rs},
};
use tracing::Instrument;
use websocket_connection::{
    check_request,
    tls::{Side, certificates, explain, explain_file, private_key},
};

/// How long a client may take for its TLS handshake, and for the head of each request.
const CLIENT_WAIT: Duration = Duration::from_secs(30);
/// How long clients may take to end what they have begun when the program stops.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How many clients there may be that are no WebSockets yet, or no more.
const MAX_CLIENTS: usize = 4096;

/// What answers requests.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Answers one; `secure` tells whether it came over TLS.
    fn answer(&self, request: Request<Incoming>, secure: bool) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// A socket that listens, and where.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Listens; port 0 takes a free one.
    pub(crate) async fn bind(address: &str) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; pass --listen another ADDRESS:PORT, port 0 for a free one")
        })?;
        Ok(Listener { tcp, tls: None })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves TLS from now on.
    pub(crate) fn with_tls(self, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Listener { tls: Some(TlsAcceptor::from(Arc::new(config))), ..self }
    }

    /// Serves HTTP until `stop` turns true; then it lets the requests that have begun come to their end.
    pub(crate) async fn serve(&self, service: impl Service, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let closing = stop.clone();
        let client = |tcp| client(tcp, self.tls.clone(), service.clone(), closing.clone());
        self.each(MAX_CLIENTS, client, stop).await
    }

    /// Has `client` serve each connection, so many at once, until `stop` turns true; then it waits for those that
    /// there are, and drops the ones that go on for too long.
    pub(crate) async fn each<F: Future<Output = ()> + Send + 'static>(
        &self,
        most: usize,
        client: impl Fn(TcpStream) -> F,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut clients = JoinSet::new();
        let mut stopped = pin!(stop.wait_for(|stop| *stop));
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if clients.len() < most => match accepted {
                    Ok((tcp, peer)) => {
                        clients.spawn(client(tcp).instrument(tracing::warn_span!("client", %peer)));
                    }
                    Err(error) => {
                        // Out of descriptors, most likely, until a client goes.
                        tracing::warn!(%error, "cannot accept a connection");
                        if clients.join_next().await.is_none() {
                            bail!("cannot accept connections: {error}");
                        }
                    }
                },
                Some(_) = clients.join_next() => {}
                _ = &mut stopped => break,
            }
        }
        let ended = async { while clients.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, ended).await.is_err() {
            tracing::info!(clients = clients.len(), "clients did not come to their end in time");
        }
        Ok(())
    }
}

async fn client(tcp: TcpStream, tls: Option<TlsAcceptor>, service: impl Service, stop: watch::Receiver<bool>) {
    let served = async {
        tcp.set_nodelay(true)?;
        match tls {
            None => http(tcp, false, service, stop).await,
            Some(tls) => {
                let session = timeout(CLIENT_WAIT, tls.accept(tcp)).await.context("the TLS handshake took too long")?;
                let session = session.map_err(|error| anyhow!("TLS failed: {}", explain(&error, Side::Server)))?;
                http(session, true, service, stop).await
            }
        }
    };
    if let Err(error) = served.await {
        tracing::info!("{error:#}");
    }
}

/// Serves the requests of one client. After an upgrade the transport is no longer this one's.
async fn http(
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    secure: bool,
    service: impl Service,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move {
            let response = match check_request(&request, secure) {
                Ok(_) => service.answer(request, secure).await,
                Err(refusal) => refusal.response(),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(CLIENT_WAIT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(transport), answer).with_upgrades());
    tokio::select! {
        served = &mut connection => return served.map_err(ended),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(ended)
}

/// Why a client's connection ended, those reasons in words that are of its TLS session.
fn ended(error: hyper::Error) -> anyhow::Error {
    match error.source().and_then(|cause| cause.downcast_ref()) {
        Some(cause) => anyhow!("the connection failed: {}", explain(cause, Side::Server)),
        None => error.into(),
    }
}

/// TLS with a certificate chain and a key of PEM files.
pub(crate) fn tls_of_files(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let bad = |path: &Path, reason: String| anyhow!("{} cannot be used: {reason}", path.display());
    let chain = certificates(certificate).map_err(|reason| bad(certificate, reason))?;
    let private = private_key(key).map_err(|reason| bad(key, reason))?;
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => bad(certificate, explain_file(&error, "the server's certificate")),
            rustls::Error::InconsistentKeys(_) => anyhow!(
                "the certificate in {} cannot be used with the key in {}, which is another's; name the two that belong \
                 together",
                certificate.display(),
                key.display()
            ),
            error => bad(key, explain_file(&error, "the server's certificate")),
        })
}
