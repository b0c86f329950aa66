//! Entry points for fuzzers, which bring transports of their own. They exist only under `cfg(fuzzing)`.

use crate::{
    ConnectConfig, Connection, Endpoint, Error,
    drive::{
        driver::Driver,
        shared::Drive,
        timer::{ThreadTimers, Timers},
    },
    observe::{
        metrics::Metrics,
        record::{Attempt, Warnings},
    },
    open::{
        handshake::{Answer, handshake},
        opening::Opening,
        request::Request,
    },
};
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use websocket_protocol::Role;

impl Endpoint {
    /// A connection over a transport whose opening handshake is done.
    ///
    /// # Errors
    /// Those of a request that breaks the contract.
    pub fn over(
        &self,
        transport: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_client: bool,
        config: ConnectConfig,
    ) -> Result<Connection, Error> {
        let request = Request::new(config, self.settings())?;
        let role = if is_client { Role::Client } else { Role::Server };
        let record = Attempt::begin(&Metrics::default(), &Warnings::default(), role, None).opened(None, None);
        let limits = self.limits(request.sizes, request.keepalive);
        let driver = Driver::new(Box::new(transport), BytesMut::new(), role, limits, None, record);
        Ok(Connection::open(driver, limits, Opening::default(), ThreadTimers.timer(), ()))
    }

    /// What a guest would get: the URL that it is shown, its time limit, its message limit and its keep-alive.
    ///
    /// # Errors
    /// Those of a request that breaks the contract.
    pub fn grants(&self, config: ConnectConfig) -> Result<(String, Duration, usize, Option<Duration>), Error> {
        let Request { url, timeout, sizes, keepalive, .. } = Request::new(config, self.settings())?;
        Ok((url.into(), timeout, sizes.max_message_size, keepalive))
    }

    /// The opening handshake alone, over a transport; gives the subprotocol and what came behind it.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`].
    pub async fn handshake_over(
        &self,
        mut transport: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        config: ConnectConfig,
    ) -> Result<(Option<String>, Vec<u8>), Error> {
        let request = Request::new(config, self.settings())?;
        let done = tokio::time::timeout(request.timeout, handshake(&request, None, &mut transport)).await;
        match done.map_err(|_| Error::Timeout)?? {
            Answer::Accepted { subprotocol, input, .. } => Ok((subprotocol, input.to_vec())),
            Answer::Redirected(_) => Err(Error::ConnectionFailed("no redirect is followed here".to_owned())),
        }
    }
}

impl Connection {
    /// Writes the batch that is held back, as the flusher does by the real clock: a fuzzer's clock may be far ahead of it.
    pub fn flush_batch(&self) {
        self.shared.with(Drive::flush);
    }
}
