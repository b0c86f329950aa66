//! Listening: TCP, TLS over it, and HTTP/1.1 connections that stop when they are asked to.

use crate::{address, stop::asked_to_stop};
use anyhow::{Context, anyhow, bail};
use clap::{Arg, ArgMatches, Command};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    error::Error as _,
    future::poll_fn,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
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
/// How long a client may take none of its answer. hyper waits [`CLIENT_WAIT`] for the next request, once it is taken.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How much of an answer hyper gets at once, in bytes.
const PART: usize = 64 * 1024;
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
    /// Listens where this flag says; port 0 takes a free one.
    pub(crate) async fn bind(flag: &str, address: &str) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; give --{flag} another address, or port 0 for a free port")
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
        let mut stopped = pin!(asked_to_stop(&mut stop));
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if clients.len() < most => match accepted {
                    Ok((tcp, peer)) => {
                        clients.spawn(client(tcp).instrument(tracing::warn_span!("client", %peer)));
                    }
                    Err(error) => {
                        // Out of descriptors, most likely, until a client goes.
                        tracing::warn!(%error, "cannot accept a connection");
                        if clients.is_empty() {
                            bail!("cannot accept connections: {error}");
                        }
                        tokio::select! {
                            _ = clients.join_next() => {}
                            () = &mut stopped => break,
                        }
                    }
                },
                Some(_) = clients.join_next() => {}
                () = &mut stopped => break,
            }
        }
        let ended = async { while clients.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, ended).await.is_err() {
            tracing::info!(clients = clients.len(), "clients did not come to their end in time");
        }
        Ok(())
    }
}

async fn client(tcp: TcpStream, tls: Option<TlsAcceptor>, service: impl Service, mut stop: watch::Receiver<bool>) {
    let served = async {
        tcp.set_nodelay(true)?;
        match tls {
            None => http(tcp, false, service, stop, ANSWER_WAIT).await,
            Some(tls) => {
                let session = tokio::select! {
                    session = timeout(CLIENT_WAIT, tls.accept(tcp)) => session,
                    // Nothing was asked yet.
                    () = asked_to_stop(&mut stop) => return Ok(()),
                };
                let session = session.context("the TLS handshake took too long")?;
                let session = session.map_err(|error| anyhow!("TLS failed: {}", explain(&error, Side::Server)))?;
                http(session, true, service, stop, ANSWER_WAIT).await
            }
        }
    };
    if let Err(error) = served.await {
        tracing::info!("{error:#}");
    }
}

/// Serves the requests of one client, who may take none of an answer for so long. After an upgrade the transport is no
/// longer this one's.
async fn http(
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    secure: bool,
    service: impl Service,
    mut stop: watch::Receiver<bool>,
    answer_wait: Duration,
) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::new());
    let answers = Arc::clone(&progress);
    let answer = service_fn(move |request| {
        let (service, progress) = (service.clone(), Arc::clone(&answers));
        async move {
            progress.begin_request();
            let response = match check_request(&request, secure) {
                Ok(_) => service.answer(request, secure).await,
                Err(refusal) => refusal.response(),
            };
            progress.advance();
            Ok::<_, Infallible>(response.map(|body| Parts { body, rest: Bytes::new(), progress }))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(CLIENT_WAIT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(transport), answer).with_upgrades());
    let mut stopping = false;
    loop {
        tokio::select! {
            served = &mut connection => return served.map_err(ended),
            () = asked_to_stop(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
                // hyper waits for the first request of a client; one that has arrived is answered.
                let polled = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
                match polled {
                    Poll::Ready(served) => return served.map_err(ended),
                    Poll::Pending if progress.is_before_first_request() => return Ok(()),
                    Poll::Pending => {}
                }
            }
            () = sleep_until(progress.last() + answer_wait) => {
                if progress.last() + answer_wait <= Instant::now() {
                    let limit = humantime::format_duration(answer_wait);
                    bail!("the client took nothing of its answer for {limit}, and its connection is dropped");
                }
            }
        }
    }
}

/// Why a client's connection ended, those reasons in words that are of its TLS session.
fn ended(error: hyper::Error) -> anyhow::Error {
    match error.source().and_then(|cause| cause.downcast_ref()) {
        Some(cause) => anyhow!("the connection failed: {}", explain(cause, Side::Server)),
        None => error.into(),
    }
}

/// When a client last moved something.
struct Progress(Mutex<Moved>);

struct Moved {
    at: Instant,
    has_asked: bool,
    /// A request is being answered, which has limits of its own.
    is_answering: bool,
}

impl Progress {
    fn new() -> Self {
        Progress(Mutex::new(Moved { at: Instant::now(), has_asked: false, is_answering: false }))
    }

    fn begin_request(&self) {
        let mut moved = self.0.lock();
        (moved.has_asked, moved.is_answering) = (true, true);
    }

    fn advance(&self) {
        let mut moved = self.0.lock();
        (moved.at, moved.is_answering) = (Instant::now(), false);
    }

    fn is_before_first_request(&self) -> bool {
        !self.0.lock().has_asked
    }

    /// The last time; now, while it is not for the client to move.
    fn last(&self) -> Instant {
        let moved = self.0.lock();
        if moved.is_answering { Instant::now() } else { moved.at }
    }
}

/// A response's body in parts, so that hyper asks for more of it as the client takes it.
struct Parts {
    body: Full<Bytes>,
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                _ => return Poll::Ready(None),
            }
        }
        self.progress.advance();
        let length = PART.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(length) => SizeHint::with_exact(length + self.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}

/// Adds `--tls-cert` and `--tls-key`.
pub(crate) fn tls_arguments(command: Command) -> Command {
    let file = |name: &'static str, other: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").requires(other).value_parser(address::file()).help(help)
    };
    command.arg(file("tls-cert", "tls-key", "A PEM file with the certificate chain to serve TLS with")).arg(file(
        "tls-key",
        "tls-cert",
        "A PEM file with the private key of --tls-cert",
    ))
}

/// TLS with the files that the command line names, where it names some.
pub(crate) fn tls(matches: &ArgMatches) -> anyhow::Result<Option<ServerConfig>> {
    let file = |name| matches.try_get_one::<PathBuf>(name).ok().flatten();
    match (file("tls-cert"), file("tls-key")) {
        (Some(certificate), Some(key)) => tls_of_files(certificate, key).map(Some),
        _ => Ok(None),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const ANSWER: usize = 4 << 20;

    #[derive(Clone)]
    struct Large;

    impl Service for Large {
        async fn answer(&self, _: Request<Incoming>, _: bool) -> Response<Full<Bytes>> {
            Response::new(Full::new(vec![7; ANSWER].into()))
        }
    }

    /// A client that has asked, and what becomes of its connection.
    async fn asked() -> (impl AsyncRead + Unpin, impl Future<Output = anyhow::Result<()>>, watch::Sender<bool>) {
        let (mut client, server) = duplex(PART);
        client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
        let (stop, stopping) = watch::channel(false);
        (client, http(server, false, Large, stopping, Duration::from_secs(1)), stop)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
        let (_client, served, _stop) = asked().await;
        let dropped = timeout(Duration::from_secs(20), served).await.expect("it is dropped in time").unwrap_err();
        assert!(dropped.to_string().contains("took nothing of its answer for 1s"), "{dropped}");
    }

    #[tokio::test]
    async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
        let (mut client, served, _stop) = asked().await;
        let takes = async {
            let (mut got, mut part) = (0, vec![0; PART]);
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                match client.read(&mut part).await.unwrap() {
                    0 => return got,
                    read => got += read,
                }
            }
        };
        let (got, served) = tokio::join!(takes, served);
        served.unwrap();
        assert!(got > ANSWER, "{got}");
    }
}
