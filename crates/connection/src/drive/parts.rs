//! Messages in pieces and frames: what a connection's handle sends and receives other than whole messages.

use crate::{
    Connection, Error, Frame, MessageKind,
    drive::{connection::UNLIMITED, driver::Driver, shared::Shared},
};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};

/// Messages of any size in bounded memory, and single frames.
///
/// [`Connection::receive`], [`Connection::receive_stream`] and [`Connection::receive_frame`] take what comes next in one
/// common order. While a message is received in pieces, or its frames one by one, the others wait for its end; so do
/// [`Connection::send`], [`Connection::send_stream`] and [`Connection::send_frame`] while a message is sent in parts, for the
/// time that they wait otherwise. Pings are answered and keep-alive goes on meanwhile.
impl Connection {
    /// Receives the next message in pieces, as its bytes come; `None` once the peer has closed. Pings and pongs before it
    /// are skipped. Waits without a limit. Cancel safe: a call that is dropped has taken nothing.
    ///
    /// A message of any size passes, with at most 1 MiB of it in memory, if
    /// [`ConnectConfig::streams`](crate::ConnectConfig::streams) or [`AcceptConfig::streams`](crate::AcceptConfig::streams)
    /// was set. Without that, the message arrives whole first, and the host's limit for messages holds.
    ///
    /// # Errors
    /// Those of [`Connection::receive`].
    pub async fn receive_stream(&self) -> Result<Option<ReceiveStream>, Error> {
        let begun = match self.shared.with(|driver, _| driver.take_stream()) {
            Some(outcome) => Some(outcome),
            None => self.shared.wait(UNLIMITED, |driver, _| driver.take_stream()).await,
        };
        let kind = begun.unwrap_or(Err(Error::Timeout))?;
        Ok(kind.map(|kind| ReceiveStream { shared: Arc::clone(&self.shared), kind, has_ended: false }))
    }

    /// Begins to send a message in pieces, in fragments of at most 64 KiB (RFC 6455 section 5.4). Waits without a limit while
    /// another message is sent in parts. Cancel safe: a call that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] after a close from either side, and [`Error::Io`] once when the transport failed.
    pub async fn send_stream(&self, kind: MessageKind) -> Result<SendStream, Error> {
        let begun = match self.shared.with(|driver, _| driver.begin_stream(kind)) {
            Some(outcome) => Some(outcome),
            None => self.shared.wait(UNLIMITED, |driver, _| driver.begin_stream(kind)).await,
        };
        begun.unwrap_or(Err(Error::Timeout))?;
        Ok(SendStream { shared: Arc::clone(&self.shared), write_timeout: self.limits.write_timeout, has_ended: false })
    }

    /// Receives the next frame as it was on the wire, unmasked, control frames included; `None` after the peer's close frame.
    /// The host answers pings and the close frame by itself, and has checked that the frame may come here (RFC 6455 section
    /// 5). Of unread pings and pongs, the newest 16 each are kept. Waits without a limit. Cancel safe: a call that is dropped
    /// has taken nothing.
    ///
    /// Frames have the boundaries that they had on the wire if
    /// [`ConnectConfig::streams`](crate::ConnectConfig::streams) or [`AcceptConfig::streams`](crate::AcceptConfig::streams)
    /// was set, and no [`Connection::receive`] waited for their message. Otherwise each message is one frame. A frame may be as
    /// large as a message.
    ///
    /// # Errors
    /// Those of [`Connection::receive`].
    pub async fn receive_frame(&self) -> Result<Option<Frame>, Error> {
        let received = match self.shared.with(|driver, _| driver.take_frame()) {
            Some(outcome) => Some(outcome),
            None => self.shared.wait(UNLIMITED, |driver, _| driver.take_frame()).await,
        };
        received.unwrap_or(Err(Error::Timeout))
    }

    /// Sends one frame as it is; a close frame is [`Connection::close`]. Waits while the peer does not read. Cancel safe: a
    /// send that is dropped has sent nothing.
    ///
    /// # Errors
    /// Those of [`Connection::send`]; [`Error::InvalidMessage`] also for a frame that RFC 6455 sections 5.4 and 5.5 do not
    /// allow after those that were sent before, for text that is not UTF-8, and for a payload over the limit of frames or of
    /// messages. Nothing was sent then.
    pub async fn send_frame(&self, frame: &Frame) -> Result<(), Error> {
        if let Some(outcome) = self.shared.with(|driver, cx| driver.put_frame(frame, cx)) {
            return outcome;
        }
        let sent = self.shared.wait(self.limits.write_timeout, |driver, cx| driver.put_frame(frame, cx));
        sent.await.unwrap_or_else(|| {
            self.shared.lock().send_timed_out();
            Err(Error::Timeout)
        })
    }
}

/// A message that is received in pieces. Dropping this discards the rest of the message; later messages are still received.
pub struct ReceiveStream {
    shared: Arc<Shared<Driver>>,
    kind: MessageKind,
    has_ended: bool,
}

impl ReceiveStream {
    /// The kind of the message.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The next piece, of any size; `None` at the end of the message. Text was checked to be UTF-8 so far, though a
    /// piece may end within a character. Waits without a limit. Cancel safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// The message was cut short: the first call that notices reports how, as [`Connection::receive`] does, and others
    /// [`Error::ConnectionClosed`]. Also for a connection that is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.has_ended {
                return Ok(None);
            }
            let taken = match self.shared.with(|driver, _| driver.take_piece()) {
                Some(outcome) => Some(outcome),
                None => self.shared.wait(UNLIMITED, |driver, _| driver.take_piece()).await,
            };
            let taken = taken.unwrap_or(Err(Error::Timeout));
            self.has_ended = taken.as_ref().map_or(true, |piece| piece.is_last);
            match taken? {
                piece if piece.data.is_empty() => {}
                piece => return Ok(Some(piece.data)),
            }
        }
    }
}

impl Drop for ReceiveStream {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.with(|driver, _| driver.discard_stream());
        }
    }
}

impl fmt::Debug for ReceiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveStream").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A message that is sent in pieces. Dropping it before [`SendStream::finish`] cuts the message short: once a part of it was
/// sent, the connection closes with 1011, since no other message can follow.
pub struct SendStream {
    shared: Arc<Shared<Driver>>,
    write_timeout: Duration,
    has_ended: bool,
}

impl SendStream {
    /// Sends the beginning of `data` as one fragment, of at most 64 KiB, and returns how many bytes it has. Waits while the
    /// peer does not read. Cancel safe: a write that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for text that is not UTF-8, and for a message over the limit that the connection was opened
    /// with; [`Error::ConnectionClosed`] after a close from either side; [`Error::Timeout`] when the peer did not
    /// read for the write timeout; [`Error::Io`] once when the transport failed. Nothing of `data` was sent.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.put(data, false).await
    }

    /// Sends all of `data`, as [`SendStream::write`] does. Not cancel safe: a part of it may have been sent.
    ///
    /// # Errors
    /// Those of [`SendStream::write`], of the part that was not sent.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            data = &data[self.write(data).await?..];
        }
        Ok(())
    }

    /// Ends the message. A call that is dropped cuts it short, as dropping the stream does.
    ///
    /// # Errors
    /// Those of [`SendStream::write`]; [`Error::InvalidMessage`] for text that ends within a character.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.put(&[], true).await?;
        self.has_ended = true;
        Ok(())
    }

    async fn put(&self, data: &[u8], is_last: bool) -> Result<usize, Error> {
        if let Some(outcome) = self.shared.with(|driver, cx| driver.put_piece(data, is_last, cx)) {
            return outcome;
        }
        let sent = self.shared.wait(self.write_timeout, |driver, cx| driver.put_piece(data, is_last, cx));
        sent.await.unwrap_or_else(|| {
            self.shared.lock().send_timed_out();
            Err(Error::Timeout)
        })
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.with(|driver, cx| driver.cancel_stream(cx));
        }
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream").finish_non_exhaustive()
    }
}
