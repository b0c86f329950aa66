//! The handle to one open WebSocket: what guests call, by whatever ABI.

use crate::{
    CloseInfo, Error, Message, MessageRef,
    drive::{
        driver::{Driver, Limits},
        shared::Shared,
        timer::Timer,
    },
    open::opening::Opening,
};
use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::task::coop::consume_budget;
use websocket_protocol::{connection::State, deflate, message::PreparedMessage};

/// The life of a connection, in order; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// A close frame went out or came in, or a send failed because the transport did.
    Closing,
    /// The transport is gone.
    Closed,
}

/// The time limit of waits that only the caller ends.
pub(super) const UNLIMITED: Duration = Duration::MAX;
/// The close frame of a handle that is dropped (RFC 6455 section 7.4.1: going away).
const GOING_AWAY: CloseInfo = CloseInfo { code: 1001, reason: None };

/// An open WebSocket.
///
/// A task of the runtime that opened it reads ahead into a bounded buffer, answers pings, keeps the
/// connection alive and completes closing handshakes. Messages sent back to back are batched. A batch is
/// written at 16, 32, 64, … messages, when the sender waits for anything, or after half a millisecond by a thread that
/// all connections of the process share.
///
/// Dropping the handle, from any thread and with or without a runtime, starts a close with 1001 in the
/// background, which ends within the close timeout.
pub struct Connection {
    pub(crate) shared: Arc<Shared<Driver>>,
    pub(super) limits: Limits,
    opening: Opening,
}

impl Connection {
    /// Takes over a transport whose opening handshake is done. `held` is dropped with the transport.
    pub(crate) fn open(
        driver: Driver,
        limits: Limits,
        opening: Opening,
        timer: Pin<Box<dyn Timer>>,
        held: impl Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::new(driver));
        let task = Task(Arc::clone(&shared));
        tokio::spawn(async move {
            let (_held, task) = (held, task);
            task.0.run(timer).await;
        });
        Connection { shared, limits, opening }
    }

    /// Sends one message: text, bytes, or a reference to a [`Message`]. [`Message::Close`] is [`Connection::close`]. Returns
    /// once the message is queued behind at most 64 KiB of earlier messages. Waits while the peer does not read, and while
    /// another message is sent in parts. Cancel safe: a send that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] when the message may not be sent, [`Error::ConnectionClosed`] after a
    /// close from either side, [`Error::Timeout`] when it had to wait for the write timeout;
    /// nothing of the message is sent then. [`Error::Io`] once when the transport failed; what the peer sent before
    /// can still be received.
    pub async fn send<'a>(&self, message: impl Into<MessageRef<'a>>) -> Result<(), Error> {
        let message = message.into();
        if self.try_send(message)? {
            return Ok(());
        }
        let sent = self.shared.wait(self.limits.write_timeout, |driver, cx| driver.put_message(message, cx));
        self.in_time(sent.await)
    }

    /// Sends one message as [`Connection::send`] does, unless that would wait; returns whether it did.
    ///
    /// # Errors
    /// Those of [`Connection::send`], but for [`Error::Timeout`].
    pub fn try_send<'a>(&self, message: impl Into<MessageRef<'a>>) -> Result<bool, Error> {
        let message = message.into();
        message.check_sendable(self.limits.max_message_size)?;
        if let MessageRef::Close(info) = message {
            self.shared.with(|driver, cx| driver.close(Some(info), cx));
            return Ok(true);
        }
        let sent = self.shared.with(|driver, cx| driver.put_message(message, cx));
        sent.map_or(Ok(false), |outcome| outcome.map(|()| true))
    }

    /// Sends a message that goes to many connections as [`Connection::send`] does. It is framed once for all clients of a
    /// server, and compressed once for each set of parameters that connections without context takeover use. A client masks
    /// each copy. Cancel safe.
    ///
    /// # Errors
    /// Those of [`Connection::send`].
    pub async fn send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        if self.try_send_prepared(message)? {
            return Ok(());
        }
        let sent = self.shared.wait(self.limits.write_timeout, |driver, cx| driver.put_prepared(message, cx));
        self.in_time(sent.await)
    }

    /// Sends a message as [`Connection::send_prepared`] does, unless that would wait; returns whether it did.
    ///
    /// # Errors
    /// Those of [`Connection::send`], but for [`Error::Timeout`].
    pub fn try_send_prepared(&self, message: &PreparedMessage) -> Result<bool, Error> {
        MessageRef::Binary(message.payload()).check_sendable(self.limits.max_message_size)?;
        let sent = self.shared.with(|driver, cx| driver.put_prepared(message, cx));
        sent.map_or(Ok(false), |outcome| outcome.map(|()| true))
    }

    fn in_time(&self, sent: Option<Result<(), Error>>) -> Result<(), Error> {
        sent.unwrap_or_else(|| {
            self.shared.lock().send_timed_out();
            Err(Error::Timeout)
        })
    }

    /// Receives the next message, in order, whole and once. Waits up to the receive wait, then returns
    /// `None`. Cancel safe: a receive that is dropped has taken nothing.
    ///
    /// # Errors
    /// After everything that came before, once: [`Error::Io`] when the transport failed,
    /// [`Error::Protocol`] or [`Error::InvalidMessage`] when the peer violated the protocol, or
    /// [`Error::Timeout`] when the keep-alive or the closing handshake had no answer. From then on, and
    /// after a close message, [`Error::ConnectionClosed`].
    pub async fn receive(&self) -> Result<Option<Message>, Error> {
        if let Some(outcome) = self.shared.with(|driver, _| driver.take_message()) {
            return outcome.map(Some);
        }
        let received = self.shared.wait(self.limits.receive_wait, |driver, _| driver.take_message()).await;
        if received.is_none() {
            // A guest that polls in a loop, and never waits, must yield to other tasks.
            consume_budget().await;
        }
        received.transpose()
    }

    /// Returns the next buffered message, or `None`. Unlike [`Connection::receive`], `None` does not signal that
    /// earlier messages were handled: the close frame of a pending violation is still held back.
    pub fn try_receive(&self) -> Option<Message> {
        self.shared.with(|driver, _| driver.take_read())
    }

    /// Sends a close frame and returns; the handshake completes in the background. A reason without a
    /// code uses 1000; neither sends a frame without a code. After a close from either side it does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a code that may not be sent (RFC 6455 section 7.4) or a reason over
    /// 123 bytes.
    pub fn close(&self, code: Option<u16>, reason: Option<String>) -> Result<(), Error> {
        let info = match (code, reason) {
            (None, None) => None,
            (code, reason) => Some(CloseInfo { code: code.unwrap_or(1000), reason }),
        };
        info.as_ref().map_or(Ok(()), CloseInfo::check_sendable)?;
        self.shared.with(|driver, cx| driver.close(info.as_ref(), cx));
        Ok(())
    }

    /// Ends the connection at once, without a closing handshake: unsent data is dropped, and the peer gets a reset.
    pub fn abort(&self) {
        self.shared.with(|driver, _| driver.abort());
    }

    /// Ends the connection if its peer has reset TCP, and returns whether it has. While the inbound buffer is full,
    /// nothing else notices a reset, since nothing is read. Unread messages are then lost.
    pub fn notice_reset(&self) -> bool {
        self.shared.with(|driver, _| driver.notice_reset())
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> ConnectionState {
        match self.shared.lock().state() {
            State::Open => ConnectionState::Open,
            State::Closing => ConnectionState::Closing,
            State::Closed => ConnectionState::Closed,
        }
    }

    /// The URL that was dialled, without credentials; for an accepted connection, the request's target.
    pub fn url(&self) -> &str {
        &self.opening.url
    }

    /// The names, in lower case, and the values of header fields: of the server's response where this is the client, and of the
    /// request where it is the server. None for a connection from [`Endpoint::adopt`](crate::Endpoint::adopt).
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.opening.headers.iter()
    }

    /// Where TCP leads: to the peer, or to the proxy. `None` for another transport, and once the connection is closed.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.shared.lock().peer_addr()
    }

    /// The parameters of the compression that was negotiated; `None` without compression, and once the connection is closed.
    pub fn compression(&self) -> Option<deflate::Parameters> {
        self.shared.lock().compression()
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.opening.subprotocol.as_deref()
    }
}

/// Shows neither the URL nor messages: both may hold secrets.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Connection");
        debug.field("state", &self.state()).field("subprotocol", &self.opening.subprotocol).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.with(|driver, cx| driver.abandon(&GOING_AWAY, cx));
    }
}

/// Ends the connection when its task ends, also when a runtime shuts down before the task ever ran.
struct Task(Arc<Shared<Driver>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.with(|driver, _| driver.stop());
    }
}
