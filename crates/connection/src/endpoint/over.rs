//! Connections over byte streams that the caller brings: in either role, with bytes that were already read, with or without
//! the opening handshake.

use super::Endpoint;
use crate::{
    ConnectConfig, ConnectError, Connection, Error, Step,
    drive::{driver::Driver, transport::Transport},
    error::connect::Progress,
    observe::record::Attempt,
    open::{
        handshake::{Answer, handshake},
        opening::{HeaderLines, Opening},
        request::Request,
    },
};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use websocket_protocol::{Role, deflate::Compression};

/// How to accept one connection, with `None` for the host's setting. [`AcceptConfig::new`] makes one; its fields are then
/// set one by one.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AcceptConfig {
    /// Largest message in bytes, both ways, capped by the host's maximum.
    pub max_message_size: Option<usize>,
    /// Largest frame in bytes, both ways, capped by the host's; a larger message is sent in fragments.
    pub max_frame_size: Option<usize>,
    /// Whether [`Connection::receive_stream`] and [`Connection::receive_frame`] are used. `max_message_size` limits messages
    /// in pieces only if it is set here.
    pub streams: bool,
}

impl AcceptConfig {
    /// The host's settings.
    pub fn new() -> Self {
        AcceptConfig::default()
    }
}

/// An opening handshake that was done elsewhere, for [`Endpoint::adopt`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Established {
    /// Which end of the connection this is.
    pub role: Role,
    /// Bytes that were read behind the handshake.
    pub input: Bytes,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<String>,
    /// The compression that was agreed on.
    pub compression: Option<Compression>,
    /// What [`Connection::url`] returns. It is not used otherwise.
    pub url: String,
    /// The limits of the connection.
    pub config: AcceptConfig,
}

impl Established {
    /// A handshake without a subprotocol and without compression, behind which nothing was read.
    pub fn new(role: Role) -> Self {
        let (input, config) = (Bytes::new(), AcceptConfig::new());
        Established { role, input, subprotocol: None, compression: None, url: String::new(), config }
    }
}

impl Endpoint {
    /// Opens a WebSocket as the client over a byte stream that leads to the server already. The URL of `config` decides what the
    /// opening handshake says; the policy is not asked, nothing is dialled, TLS is the stream's affair, and redirects are not
    /// followed. Settings, limits and the time limit are those of [`Endpoint::connect`]. Must run in a tokio runtime, which then
    /// drives the connection. Cancel safe: the stream is dropped with the future.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`] that come after TLS.
    pub async fn connect_over<S>(&self, stream: S, config: ConnectConfig) -> Result<Connection, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = Request::new(ConnectConfig { max_redirects: 0, ..config }, self.settings());
        let destination = request.as_ref().ok().map(Request::destination);
        let attempt = self.attempt(Role::Client, destination);
        let opened = async {
            let request = request.map_err(ConnectError::invalid_request)?;
            let permits = self.permits()?;
            let progress = Progress::default();
            progress.reach(Step::Handshake);
            let mut transport: Box<dyn Transport> = Box::new(stream);
            let deadline = Instant::now() + request.timeout;
            let answer = timeout_at(deadline, handshake(&request, self.offer(&request), &mut transport)).await;
            match answer.map_err(|_| progress.timeout())?? {
                Answer::Accepted { subprotocol, headers, compression, input } => {
                    let opening = Opening { url: request.url.clone().into(), subprotocol, headers };
                    Ok((request, permits, transport, opening, compression, input))
                }
                Answer::Redirected(_) => Err(ConnectError::protocol(Error::Protocol("it redirects".to_owned()))),
            }
        };
        match opened.await {
            Ok((request, permits, transport, opening, compression, input)) => {
                let limits = self.limits(request.sizes, request.keepalive);
                let record = attempt.opened(opening.subprotocol.as_deref(), None);
                let driver = Driver::new(transport, input, Role::Client, limits, compression, record);
                Ok(Connection::open(driver, limits, opening, self.timer(), permits))
            }
            Err(failure) => Err(attempt.failed(failure)),
        }
    }

    /// Takes over a byte stream whose opening handshake is done. It takes a slot of its own, beside that of a stream from
    /// [`Endpoint::connect_tcp`]. Settings and limits are those of [`Endpoint::connect`] or
    /// [`Endpoint::upgrade`], by the role. Must run in a tokio runtime, which then drives the connection.
    ///
    /// # Errors
    /// [`Reason::Limit`](crate::Reason::Limit) when no more connections are allowed.
    pub fn adopt<S>(&self, stream: S, established: Established) -> Result<Connection, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Established { role, input, subprotocol, compression, url, config } = established;
        let attempt = self.attempt(role, None);
        let permits = match self.permits() {
            Ok(permits) => permits,
            Err(failure) => return Err(attempt.failed(failure)),
        };
        let limits = self.accepting_limits(&config);
        let record = attempt.opened(subprotocol.as_deref(), None);
        let driver = Driver::new(Box::new(stream), BytesMut::from(input), role, limits, compression, record);
        let opening = Opening { url, subprotocol, headers: HeaderLines::default() };
        Ok(Connection::open(driver, limits, opening, self.timer(), permits))
    }

    fn attempt(&self, role: Role, destination: Option<String>) -> Attempt {
        Attempt::begin(&self.host.metrics, &self.warnings, role, destination)
    }
}
