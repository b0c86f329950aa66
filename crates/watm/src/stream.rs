//! A byte stream as a module has it: what is there can be asked for without waiting, and what is written leaves as
//! there is room.

use super::{WebSocketTransport, errno::Errno};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    any::Any,
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::io::{poll_read_buf, poll_write_buf};
use websocket_connection::TcpConnection;

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;
/// A stream of which so much waits for room is full, in bytes.
const FULL: usize = 64 * 1024;
/// A write waits while more than this waits for room, in bytes.
const MAX_UNSENT: usize = 2 << 20;
/// What a write that waits costs beside its bytes.
const WRITE_COST: usize = 64;
/// How many reads in a row are discarded before other tasks have a turn.
const DISCARDS: usize = 16;
/// How long a TCP peer has to end its direction after the end of the other, before the socket is closed: one that is
/// closed with unread bytes is reset, and a reset can take from the peer what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);
/// How long a closed stream has to send what waits once its connection is cancelled.
const CANCELLED_WAIT: Duration = Duration::from_secs(2);

/// What carries bytes: TCP, a WebSocket, or a pipe of the host's.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Itself, for what only some kinds of transport can do.
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How a stream ends that its transport has closed.
#[derive(Clone)]
pub(super) struct Closing {
    /// How long it may take.
    pub(super) limit: Duration,
    /// Whether the connection was cancelled.
    pub(super) cancelled: watch::Receiver<bool>,
}

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
            self.write_failed(&error);
        }
        Poll::Ready(())
    }

    fn write_failed(&mut self, error: &io::Error) {
        self.failed = Some(error.into());
        self.unsent = VecDeque::new();
        (self.cost, self.flushing, self.ending) = (0, false, false);
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

    /// Whether reading it gives an error, which no other stream has to have capacity for.
    pub(super) fn has_failed(&self) -> bool {
        self.ahead.is_empty() && matches!(self.ended, Some(Err(_)))
    }

    /// Notices that a peer has reset the connection, though nothing is read.
    pub(super) fn notice_reset(&mut self) {
        let of_tcp = || self.tcp()?.take_error().ok()?;
        let reset = self.websocket().and_then(WebSocketTransport::reset).or_else(of_tcp);
        if let Some(error) = &reset {
            self.write_failed(error);
        }
        // The kernel reports the reset of a TCP connection once, and a write may have been first.
        if let Some(errno) = self.failed
            && (reset.is_some() || self.tcp().is_some())
        {
            self.ahead = BytesMut::new();
            self.ended = Some(Err(errno));
        }
    }

    /// Sends what waits and then the end of it, closes, and waits for the peer to do the same, within limits. What comes
    /// meanwhile is discarded: a peer that does not read before it has sent gets on.
    pub(super) async fn close(mut self, mut closing: Closing) {
        let deadline = Instant::now() + closing.limit;
        // The end that the transport saw may be its own doing.
        self.ended = None;
        self.end_writing();
        let cancelled = async {
            // Without anyone who could cancel, the task is ended.
            let _ = closing.cancelled.wait_for(|cancelled| *cancelled).await;
            sleep(CANCELLED_WAIT).await;
        };
        let sent = tokio::select! {
            sent = timeout_at(deadline, poll_fn(|cx| self.poll_send_discarding(cx))) => sent.is_ok(),
            () = cancelled => false,
        };
        if !sent {
            tracing::info!(
                bytes = self.cost,
                "the peer of a closed stream did not read in time; what waits is dropped"
            );
            return self.abort();
        }
        // A WebSocket is closed once its peer has answered; TCP is for either side.
        let is_websocket = self.websocket().is_some();
        let until = if is_websocket { deadline } else { deadline.min(Instant::now() + LINGER) };
        let ended = timeout_at(until, poll_fn(|cx| self.poll_discard(cx))).await;
        if ended.is_err() && is_websocket {
            self.abort();
        }
    }

    fn poll_send_discarding(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // `Pending` changes nothing: sending decides.
        let _ = self.poll_discard(cx);
        self.poll_send(cx)
    }

    /// Discards what comes; ready at its end.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..DISCARDS {
            match ready!(self.poll_readable(cx)) {
                Ready::Bytes(_) => self.ahead.clear(),
                Ready::End => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has it end at once when it is dropped, with a reset: the peer had its time.
    fn abort(&self) {
        if let Some(websocket) = self.websocket() {
            websocket.abort();
        }
        if let Some(tcp) = self.tcp() {
            // It fails only for a socket that has ended already.
            let _ = tcp.set_zero_linger();
        }
    }

    fn websocket(&self) -> Option<&WebSocketTransport> {
        (*self.transport).as_any().downcast_ref()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        let transport = (*self.transport).as_any();
        let dialled = || transport.downcast_ref::<TcpConnection>().map(AsRef::as_ref);
        transport.downcast_ref::<TcpStream>().or_else(dialled)
    }
}
