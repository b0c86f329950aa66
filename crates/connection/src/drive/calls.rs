//! Calls for what a connection does beside sending and receiving messages: pings and their pongs, the end of writing, and the
//! end of the connection.

use crate::{
    CloseInfo, Connection, Error, Message,
    drive::{connection::UNLIMITED, driver::Driver, shared::Shared},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::task::coop::consume_budget;
use websocket_protocol::connection::PingId;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closure {
    /// The peer's close frame, with the code 1005 if it had none; `None` if the connection ended without one.
    pub received: Option<CloseInfo>,
    /// The close frame that this end sent, with the code 1005 if it had none.
    pub sent: Option<CloseInfo>,
    /// What went wrong; `None` after a closing handshake in order.
    pub error: Option<Error>,
}

impl Connection {
    /// Receives the next text or binary message, whole and in order; `None` once the peer has closed. Pings are answered, and
    /// neither they nor pongs are returned. Waits up to `limit`, or without a limit. Cancel safe: a call that is dropped has
    /// taken nothing.
    ///
    /// # Errors
    /// [`Error::Timeout`] when nothing came within `limit`; otherwise those of [`Connection::receive`].
    pub async fn receive_data(&self, limit: Option<Duration>) -> Result<Option<Message>, Error> {
        if let Some(outcome) = self.shared.with(|driver, _| driver.take_data()) {
            return outcome;
        }
        let received = self.shared.wait(limit.unwrap_or(UNLIMITED), |driver, _| driver.take_data()).await;
        if received.is_none() {
            // A caller that polls in a loop, and never waits, must yield to other tasks.
            consume_budget().await;
        }
        received.unwrap_or(Err(Error::Timeout))
    }

    /// Sends a ping of at most 125 bytes, and returns the time until its pong arrived, or that of a later ping. That pong is
    /// not received as a message. Several pings may be on their way. Waits without a limit for the pong. A call that is dropped
    /// may have sent its ping; a pong that arrives later is then received as a message.
    ///
    /// # Errors
    /// Those of [`Connection::send`], and [`Error::ConnectionClosed`] when the connection closes before the pong arrives.
    pub async fn ping(&self, payload: impl Into<Bytes>) -> Result<Duration, Error> {
        let payload = payload.into();
        let sent = match self.shared.with(|driver, cx| driver.put_ping(&payload, cx)) {
            Some(outcome) => Some(outcome),
            None => self.shared.wait(self.limits.write_timeout, |driver, cx| driver.put_ping(&payload, cx)).await,
        };
        let Some(sent) = sent else {
            self.shared.lock().send_timed_out();
            return Err(Error::Timeout);
        };
        let ping = Ping { shared: &self.shared, id: sent? };
        let answered = self.shared.wait(UNLIMITED, |driver, _| driver.take_pong(ping.id)).await;
        answered.unwrap_or(Err(Error::Timeout))
    }

    /// Waits until the operating system has every message that was sent before. Waits without a limit. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Io`] when the transport failed, and [`Error::ConnectionClosed`] when the connection is closed.
    pub async fn flush(&self) -> Result<(), Error> {
        let flushed = match self.shared.with(|driver, cx| driver.flush_all(cx)) {
            Some(outcome) => Some(outcome),
            None => self.shared.wait(UNLIMITED, |driver, cx| driver.flush_all(cx)).await,
        };
        flushed.unwrap_or(Err(Error::Timeout))
    }

    /// Waits until the connection is closed, by either end or by a failure, and returns how. Messages that have arrived can
    /// still be received. May be called any number of times, also while another call waits. Cancel safe.
    ///
    /// It does not read past messages that nobody receives: while the inbound buffer is full, the end of the connection behind
    /// them is not noticed.
    pub async fn closed(&self) -> Closure {
        loop {
            if let Some(closure) = self.shared.wait(UNLIMITED, |driver, _| driver.closure()).await {
                return closure;
            }
        }
    }
}

/// A ping whose pong is awaited.
struct Ping<'a> {
    shared: &'a Arc<Shared<Driver>>,
    id: PingId,
}

impl Drop for Ping<'_> {
    fn drop(&mut self) {
        self.shared.lock().forget_ping(self.id);
    }
}
