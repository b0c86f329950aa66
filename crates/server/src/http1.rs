//! One client: its TLS handshake, its requests over HTTP/1.1, and the time that it may take.

use crate::asked_to_stop;
use http::{Request, Response};
use http_body_util::Full;
use humantime::{FormattedDuration, format_duration};
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
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use websocket_connection::{
    check_request,
    tls::{Side, explain},
};

/// How long a client may take for its TLS handshake, and for the head of each request.
const CLIENT_WAIT: Duration = Duration::from_secs(30);
/// How long a client may read nothing of a response. hyper then waits [`CLIENT_WAIT`] for the next request.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How much of an answer hyper gets at once, in bytes.
const PART: usize = 64 * 1024;

/// Answers requests. Each client has a clone.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers a request, which HTTP/1.1 allows; `secure` says that it came over TLS. The body of the request is read by
    /// the service, and no limit of time or size applies to it here. The future is dropped when the client is gone. For
    /// a WebSocket, answer with the response of an [`Upgrade`](websocket_connection::Upgrade), and accept it in a task of
    /// its own.
    fn answer(&self, request: Request<Incoming>, secure: bool) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Why the connection of a client ended early. Operators read it in the log.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("{0}")]
    Tcp(#[from] io::Error),
    #[error("the TLS handshake took too long")]
    SlowHandshake,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the connection failed: {0}")]
    Transport(String),
    #[error("{0}")]
    Http(String),
    #[error("the client took nothing of its answer for {0}, and its connection is dropped")]
    SlowReader(FormattedDuration),
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        match error.source().and_then(|cause| cause.downcast_ref()) {
            Some(cause) => ClientError::Transport(explain(cause, Side::Server)),
            None => ClientError::Http(explain(&io::Error::other(error), Side::Server)),
        }
    }
}

/// Serves a client to its end.
pub(crate) async fn serve_client(
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    service: impl Service,
    mut stop: watch::Receiver<bool>,
) {
    let served: Result<(), ClientError> = async {
        tcp.set_nodelay(true)?;
        match tls {
            None => http(tcp, false, service, stop, ANSWER_WAIT).await,
            Some(tls) => {
                let session = tokio::select! {
                    session = timeout(CLIENT_WAIT, tls.accept(tcp)) => session,
                    // Nothing was asked yet.
                    () = asked_to_stop(&mut stop) => return Ok(()),
                };
                let session = session.map_err(|_| ClientError::SlowHandshake)?;
                let session = session.map_err(|error| ClientError::Tls(explain(&error, Side::Server)))?;
                http(session, true, service, stop, ANSWER_WAIT).await
            }
        }
    }
    .await;
    if let Err(error) = served {
        tracing::info!("{error}");
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
) -> Result<(), ClientError> {
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
            served = &mut connection => return Ok(served?),
            () = asked_to_stop(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
                // hyper waits for the first request of a client; one that has arrived is answered.
                let polled = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
                match polled {
                    Poll::Ready(served) => return Ok(served?),
                    Poll::Pending if progress.is_before_first_request() => return Ok(()),
                    Poll::Pending => {}
                }
            }
            () = sleep_until(progress.last() + answer_wait) => {
                if progress.last() + answer_wait <= Instant::now() {
                    return Err(ClientError::SlowReader(format_duration(answer_wait)));
                }
            }
        }
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

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
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
    async fn asked() -> (impl AsyncRead + Unpin, impl Future<Output = Result<(), ClientError>>, watch::Sender<bool>) {
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
