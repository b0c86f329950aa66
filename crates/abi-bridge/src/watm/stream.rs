//! A byte stream as a module has it: what is there can be asked for without waiting, and to write always waits
//! for room.

use super::errno::Errno;
use bytes::{Bytes, BytesMut};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;

/// What carries bytes: TCP, a WebSocket, or a pipe of the host's.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

pub(super) struct Stream {
    transport: Box<dyn Transport>,
    /// What was read ahead to see whether there is something.
    ahead: BytesMut,
    ended: Option<Result<(), Errno>>,
    pub(super) non_blocking: bool,
    /// What had happened to the module when it was last told that it can write, and that there is an end.
    pub(super) told_writable: Option<u64>,
    pub(super) told_end: Option<u64>,
}

/// What a stream has to read, without waiting.
pub(super) enum Ready {
    /// So many bytes.
    Bytes(usize),
    /// Nothing any more.
    End,
}

impl Stream {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        Stream {
            transport,
            ahead: BytesMut::new(),
            ended: None,
            non_blocking: false,
            told_writable: None,
            told_end: None,
        }
    }

    /// Whether there is something to read, an end or an error included.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<Ready> {
        if self.ahead.is_empty() && self.ended.is_none() {
            let outcome = ready!(self.poll_read_ahead(cx));
            match outcome {
                Ok(0) => self.ended = Some(Ok(())),
                Ok(_) => {}
                Err(error) => self.ended = Some(Err((&error).into())),
            }
        }
        Poll::Ready(if self.ahead.is_empty() { Ready::End } else { Ready::Bytes(self.ahead.len()) })
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(READ_SIZE);
        let read = poll_read_buf(Pin::new(&mut self.transport), cx, &mut self.ahead);
        if self.ahead.is_empty() {
            // A stream that waits holds no buffer.
            self.ahead = BytesMut::new();
        }
        read
    }

    /// Takes up to so many bytes, none at the end; waits for them unless the stream is non-blocking. Cancel safe.
    pub(super) async fn read(&mut self, most: usize) -> Result<Bytes, Errno> {
        let ready = poll_fn(|cx| match self.poll_readable(cx) {
            Poll::Pending if self.non_blocking => Poll::Ready(Err(Errno::AGAIN)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(ready) => Poll::Ready(Ok(ready)),
        });
        match ready.await? {
            Ready::Bytes(there) => Ok(self.ahead.split_to(there.min(most)).freeze()),
            Ready::End => self.ended.unwrap_or(Ok(())).map(|()| Bytes::new()),
        }
    }

    /// Writes all of it, for however long that takes: a module that is told to try again may write all of it
    /// again.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let written = async {
            self.transport.write_all(bytes).await?;
            self.transport.flush().await
        };
        written.await.map_err(|error| Errno::from(&error))
    }

    /// Ends what is written, behind all that was. Over a WebSocket that closes it: see there.
    pub(super) async fn end_writing(&mut self) -> Result<(), Errno> {
        self.transport.shutdown().await.map_err(|error| Errno::from(&error))
    }

    /// Reads nothing any more.
    pub(super) fn end_reading(&mut self) {
        self.ahead = BytesMut::new();
        self.ended = Some(Ok(()));
    }
}
