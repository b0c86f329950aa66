//! Requests of clients over byte streams that the caller brings: the feature `server`.

use super::Endpoint;
use crate::{
    AcceptConfig, ConnectError, Connection, Error, Reason, Refusal, Step,
    drive::driver::Driver,
    open::{
        accept::{Admission, AgreedCompression},
        opening::{HeaderLines, Opening},
    },
};
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use std::{fmt, io};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};
use websocket_protocol::{
    Role,
    handshake::{RequestReader, ServerHandshake, encode_response},
};

/// A client's request over a byte stream of the caller's. It holds one of the endpoint's connection slots. Accept it with
/// [`Incoming::accept`], or answer it otherwise with [`Incoming::refuse`]. Dropping it drops the stream.
pub struct Incoming<S> {
    stream: S,
    input: BytesMut,
    request: http::Request<()>,
    handshake: ServerHandshake,
    subprotocol: Option<String>,
    compression: Option<AgreedCompression>,
    admission: Admission,
    deadline: Instant,
}

/// Shows nothing of the request: it may hold secrets.
impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("subprotocol", &self.subprotocol).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Reads a client's request from a byte stream, of which `input` was read already, and checks it as
    /// [`Endpoint::upgrade`] does. `secure` says that the stream is TLS. A request that is refused is answered. The setting
    /// `connect-timeout` limits the time until [`Incoming::accept`] has answered. Must run in a tokio runtime. Cancel safe: the
    /// stream is dropped with the future.
    ///
    /// # Errors
    /// [`Reason::RefusedHere`] for a request that was refused, [`Reason::Transport`] when the client went away, and
    /// [`Reason::Timeout`].
    pub async fn accept_over<S>(&self, mut stream: S, input: Bytes, secure: bool) -> Result<Incoming<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let deadline = Instant::now() + self.settings().connect_timeout;
        let mut input = BytesMut::from(input);
        let read = async {
            let checked = match read_request(&mut stream, &mut input).await? {
                Ok(request) => {
                    let handshake = ServerHandshake::new(&request, secure).map_err(Refusal::from);
                    handshake.and_then(|handshake| {
                        let admission = self.admit(request.headers(), &handshake, secure)?;
                        Ok((request, handshake, admission))
                    })
                }
                Err(refusal) => Err(refusal),
            };
            match checked {
                Ok(checked) => Ok(checked),
                Err(refusal) => {
                    answer(&mut stream, &refusal.response()).await?;
                    let error = Error::Protocol(format!("the request was refused: {refusal}"));
                    Err(ConnectError::new(Reason::RefusedHere { status: refusal.status() }, error))
                }
            }
        };
        let (request, handshake, (admission, compression)) =
            timeout_at(deadline, read).await.map_err(|_| too_late())??;
        Ok(Incoming { stream, input, request, handshake, subprotocol: None, compression, admission, deadline })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Incoming<S> {
    /// The client's request.
    pub fn request(&self) -> &http::Request<()> {
        &self.request
    }

    /// The subprotocols that the client offers, most wanted first.
    pub fn subprotocols(&self) -> &[String] {
        self.handshake.subprotocols()
    }

    /// Chooses one of the subprotocols that the client offers. A name that it does not offer chooses none.
    pub fn choose(&mut self, subprotocol: &str) {
        self.subprotocol = self.subprotocols().iter().find(|offered| *offered == subprotocol).cloned();
    }

    /// Answers with 101 and takes over the stream. Must run in a tokio runtime, which then drives the connection. Cancel safe:
    /// the stream is dropped with the future.
    ///
    /// # Errors
    /// [`Reason::Transport`] when the client went away first, and [`Reason::Timeout`].
    pub async fn accept(self) -> Result<Connection, ConnectError> {
        self.accept_with(&AcceptConfig::new()).await
    }

    /// [`Incoming::accept`] with other limits than those of the host's settings. Cancel safe in the same way.
    ///
    /// # Errors
    /// Those of [`Incoming::accept`].
    pub async fn accept_with(mut self, config: &AcceptConfig) -> Result<Connection, ConnectError> {
        let extensions = self.compression.as_ref().map(|agreed| &agreed.header);
        let response = self.handshake.response(self.subprotocol.as_deref(), extensions);
        let answered = timeout_at(self.deadline, answer(&mut self.stream, &response)).await;
        let Admission { attempt, endpoint, permits } = self.admission;
        if let Err(failure) = answered.unwrap_or_else(|_| Err(too_late())) {
            return Err(attempt.failed(failure));
        }
        let record = attempt.opened(self.subprotocol.as_deref(), None);
        let limits = endpoint.accepting_limits(config);
        let compression = self.compression.map(|agreed| agreed.compression);
        let driver = Driver::new(Box::new(self.stream), self.input, Role::Server, limits, compression, record);
        let headers = HeaderLines::from(self.request.headers());
        let opening = Opening { url: self.request.uri().to_string(), subprotocol: self.subprotocol, headers };
        Ok(Connection::open(driver, limits, opening, endpoint.timer(), permits))
    }

    /// Refuses the request with this response. Returns the stream, and the bytes that were read behind the request.
    ///
    /// # Errors
    /// [`Reason::InvalidRequest`] for the status 101, [`Reason::Transport`] when the client went away first, and [`Reason::Timeout`].
    pub async fn refuse(mut self, response: Response<String>) -> Result<(S, Bytes), ConnectError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let error = Error::Protocol("a response with the status 101 accepts the request".to_owned());
            return Err(self.admission.attempt.failed(ConnectError::invalid_request(error)));
        }
        let answered = timeout_at(self.deadline, answer(&mut self.stream, &response)).await;
        match answered.unwrap_or_else(|_| Err(too_late())) {
            Ok(()) => {
                self.admission.attempt.declined();
                Ok((self.stream, self.input.freeze()))
            }
            Err(failure) => Err(self.admission.attempt.failed(failure)),
        }
    }
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<Result<http::Request<()>, Refusal>, ConnectError> {
    let mut reader = RequestReader::new();
    loop {
        match reader.read(input) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Ok(None) => {}
            Err(rejection) => return Ok(Err(rejection.into())),
        }
        let read = match stream.read_buf(input).await {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection")),
            read => read,
        };
        read.map_err(|error| ConnectError::transport("no request arrived", error))?;
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), response: &Response<String>) -> Result<(), ConnectError> {
    let failed = |error| ConnectError::transport("the request cannot be answered", error);
    stream.write_all(&encode_response(response)).await.map_err(failed)?;
    stream.flush().await.map_err(failed)
}

/// The time limit passed.
fn too_late() -> ConnectError {
    ConnectError::new(Reason::Timeout(Step::Handshake), Error::Timeout)
}
