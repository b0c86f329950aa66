//! A WebSocket as a byte stream: each write is a binary message.

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};
use websocket_connection::{Connection, Error, Message, MessageRef};

/// The most that one message carries, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

type Receiving = BoxFuture<'static, Result<Option<Message>, Error>>;

/// What the close frame says: the stream is at its end, or the host goes away (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// A connection whose messages, one after the other, are a stream of bytes. Its end is the peer's close; dropped or
/// shut down, it closes with 1000. A WebSocket has no half-close: after a close from either side both directions end.
pub struct WebSocketTransport {
    connection: Arc<Connection>,
    /// The rest of the last message.
    rest: Bytes,
    receiving: Option<Receiving>,
    /// A message that waits for room, and its length.
    sending: Option<(BoxFuture<'static, Result<(), Error>>, usize)>,
    /// Whether the host goes away.
    stop: Option<watch::Receiver<bool>>,
}

impl fmt::Debug for WebSocketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketTransport").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl WebSocketTransport {
    /// The bytes of this connection's messages, text or binary.
    pub fn new(connection: Connection) -> Self {
        let connection = Arc::new(connection);
        WebSocketTransport { connection, rest: Bytes::new(), receiving: None, sending: None, stop: None }
    }

    /// The same, but it closes with 1001 once `stop` is true.
    pub fn going_away_when(mut self, stop: watch::Receiver<bool>) -> Self {
        self.stop = Some(stop);
        self
    }

    fn close(&self) {
        let stops = self.stop.as_ref().is_some_and(|stop| *stop.borrow());
        // Either code may be sent; on a connection that is closed it does nothing.
        let _ = self.connection.close(Some(if stops { GOING_AWAY } else { NORMAL }), None);
    }

    /// Whether its peer has reset TCP, though nothing is read from it.
    pub(super) fn reset(&self) -> Option<io::Error> {
        self.connection.notice_reset().then(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Ends the connection without waiting for its peer.
    pub(super) fn abort(&self) {
        self.connection.abort();
    }
}

fn io_error(error: Error) -> io::Error {
    let kind = match error {
        Error::ConnectionClosed => io::ErrorKind::BrokenPipe,
        Error::Timeout => io::ErrorKind::TimedOut,
        Error::Io(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for WebSocketTransport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            let connection = Arc::clone(&self.connection);
            let receiving = self.receiving.get_or_insert_with(|| Box::pin(async move { connection.receive().await }));
            let received = ready!(receiving.as_mut().poll(cx));
            self.receiving = None;
            match received {
                Ok(Some(Message::Binary(data))) => self.rest = data,
                Ok(Some(Message::Text(text))) => self.rest = text.into(),
                Ok(Some(Message::Ping(_) | Message::Pong(_)) | None) => {}
                Ok(Some(Message::Close(_))) | Err(Error::ConnectionClosed) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let length = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketTransport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.sending.is_none() {
            let length = bytes.len().min(MAX_MESSAGE);
            let message = MessageRef::Binary(&bytes[..length]);
            if self.connection.try_send(message).map_err(io_error)? {
                return Poll::Ready(Ok(length));
            }
            let (connection, message) = (Arc::clone(&self.connection), Message::from(message));
            self.sending = Some((Box::pin(async move { connection.send(&message).await }), length));
        }
        let Some((sending, length)) = &mut self.sending else { return Poll::Ready(Ok(0)) };
        let length = *length;
        let sent = ready!(sending.as_mut().poll(cx));
        self.sending = None;
        Poll::Ready(sent.map(|()| length).map_err(io_error))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Every message is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WebSocketTransport {
    fn drop(&mut self) {
        self.close();
    }
}
