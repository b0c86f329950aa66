//! A byte stream as a module has it: what is there can be asked for without waiting, and what is written leaves as
//! there is room.

use super::errno::Errno;
use bytes::{Buf, Bytes, BytesMut};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;
/// A stream of which so much waits for room is full, in bytes.
const FULL: usize = 64 * 1024;
/// A write waits while more than this waits for room, in bytes.
const MAX_UNSENT: usize = 2 << 20;
/// What a write that waits costs beside its bytes.
const WRITE_COST: usize = 64;

/// What carries bytes: TCP, a WebSocket, or a pipe of the host's.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

pub(super) struct Stream {
    transport: Box<dyn Transport>,
    /// What was read ahead to see whether there is something.
    ahead: BytesMut,
    ended: Option<Result<(), Errno>>,
    /// Writes that wait for room, and what they cost: each stays by itself, since over a WebSocket it is a message.
    unsent: VecDeque<Bytes>,
    cost: usize,
    flushing: bool,
    /// Whether to end what is written behind all that waits.
    ending: bool,
    /// Why nothing can be written any more.
    failed: Option<Errno>,
    pub(super) non_blocking: bool,
    /// Whether it says when to end, and carries nothing.
    pub(super) is_cancel: bool,
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
            unsent: VecDeque::new(),
            cost: 0,
            flushing: false,
            ending: false,
            failed: None,
            non_blocking: false,
            is_cancel: false,
            told_writable: None,
            told_end: None,
        }
    }

    /// One that says when to end.
    pub(super) fn cancel(transport: Box<dyn Transport>) -> Self {
        Stream { is_cancel: true, ..Stream::new(transport) }
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

    /// Takes up to so many bytes of what is there, none at the end.
    pub(super) fn take(&mut self, ready: Ready, most: usize) -> Result<Bytes, Errno> {
        match ready {
            Ready::Bytes(there) => Ok(self.ahead.split_to(there.min(most)).freeze()),
            Ready::End => self.ended.unwrap_or(Ok(())).map(|()| Bytes::new()),
        }
    }

    /// Writes it behind what waits already. It leaves as [`Stream::poll_send`] is called.
    pub(super) fn write(&mut self, bytes: Bytes) -> Result<(), Errno> {
        if self.ending {
            return Err(Errno::PIPE);
        }
        if !bytes.is_empty() {
            self.cost += bytes.len() + WRITE_COST;
            self.unsent.push_back(bytes);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Ends what is written, behind all that was. Over a WebSocket that closes it: see there.
    pub(super) fn end_writing(&mut self) {
        self.ending = true;
    }

    /// Whether it should be given no more before some of what waits has left.
    pub(super) fn is_full(&self) -> bool {
        self.cost >= FULL
    }

    /// Whether a write has to wait no longer, or why it failed.
    pub(super) fn poll_room(&self) -> Poll<Result<(), Errno>> {
        match self.failed {
            Some(errno) => Poll::Ready(Err(errno)),
            None if self.cost > MAX_UNSENT => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    /// Lets what was written leave, and then the end of it; ready once nothing waits.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.poll_transport(cx)) {
            self.failed = Some((&error).into());
            self.unsent = VecDeque::new();
            (self.cost, self.flushing, self.ending) = (0, false, false);
        }
        Poll::Ready(())
    }

    fn poll_transport(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.unsent.front_mut() {
            let written = ready!(poll_write_buf(Pin::new(&mut self.transport), cx, first))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.cost -= written;
            self.flushing = true;
            if !first.has_remaining() {
                self.unsent.pop_front();
                self.cost -= WRITE_COST;
            }
        }
        if self.flushing {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.flushing = false;
        }
        if self.ending {
            ready!(Pin::new(&mut self.transport).poll_shutdown(cx))?;
            self.ending = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads nothing any more.
    pub(super) fn end_reading(&mut self) {
        self.ahead = BytesMut::new();
        self.ended = Some(Ok(()));
    }
}
