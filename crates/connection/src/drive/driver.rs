//! One open WebSocket on its transport: moves bytes between protocol and transport, wakes waiting calls, and reports to logs
//! and counters. Nothing here waits: the caller brings the waker.

#[cfg(test)]
mod tests;

use crate::{
    CloseInfo, Closure, Error, Message, MessageRef,
    drive::{
        shared::{Drive, Notices},
        transport::{Transport, peer_addr, reset_when_dropped, take_error},
    },
    observe::record::Record,
};
use bytes::{Bytes, BytesMut};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;
use websocket_protocol::{
    Config, Failure, MessageKind, Role,
    connection::{Connection as Protocol, Event, Piece, PingId, ReceiveError, SendError, Sent, State},
    deflate::{self, Compression},
    frame::Frame,
    message::PreparedMessage,
};

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one assembled message, both ways.
    pub(crate) max_message_size: usize,
    /// Bytes of one message in pieces, both ways.
    pub(crate) max_stream_size: u64,
    /// Bytes of one frame, both ways.
    pub(crate) max_frame_size: usize,
    /// Bytes of one frame of a message that is sent.
    pub(crate) fragment_size: usize,
    /// Whether messages may be received in pieces and frame by frame.
    pub(crate) streams: bool,
    /// Bytes received ahead of the guest.
    pub(crate) inbound_buffer: usize,
    /// How long `receive` waits.
    pub(crate) receive_wait: Duration,
    /// How long `send` waits.
    pub(crate) write_timeout: Duration,
    /// How long closing takes at most.
    pub(crate) close_timeout: Duration,
    /// Silence after which a ping is sent; `None` for no keep-alive.
    pub(crate) keepalive: Option<Duration>,
}

impl Limits {
    fn config(&self, role: Role) -> Config {
        let mut config = Config::new(role);
        config.max_message_size = self.max_message_size;
        config.max_stream_size = self.max_stream_size;
        config.max_frame_size = self.max_frame_size;
        config.fragment_size = self.fragment_size;
        config.streams = self.streams;
        config.inbound_buffer = self.inbound_buffer;
        config.close_timeout = self.close_timeout;
        config.keep_alive = self.keepalive;
        config
    }
}

pub(crate) struct Driver {
    protocol: Protocol,
    /// `None` once closed.
    transport: Option<Box<dyn Transport>>,
    /// The transport accepts no bytes right now.
    is_blocked: bool,
    record: Record,
    notices: Notices,
}

impl Driver {
    /// `input` is what arrived behind the opening handshake.
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        input: BytesMut,
        role: Role,
        limits: Limits,
        compression: Option<Compression>,
        record: Record,
    ) -> Self {
        let now = Driver::now();
        let mut protocol = Protocol::new(limits.config(role), Box::new(random), now);
        if let Some(compression) = compression {
            protocol = protocol.with_compression(compression);
        }
        if !input.is_empty() {
            protocol.receive_bytes(&input, now);
        }
        Driver { protocol, transport: Some(transport), is_blocked: false, record, notices: Notices::default() }
    }

    pub(crate) fn compression(&self) -> Option<deflate::Parameters> {
        self.protocol.compression()
    }

    /// Where TCP leads, if the transport is TCP.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        peer_addr(self.transport.as_deref()?)
    }

    pub(crate) fn state(&self) -> State {
        self.protocol.state()
    }

    fn close_transport(&mut self) {
        // The close frame of a keep-alive timeout, as far as the transport accepts it at once.
        if !self.protocol.transmit().is_empty() {
            self.write(&mut Context::from_waker(Waker::noop()));
        }
        if let Some(transport) = self.transport.take()
            && self.is_blocked
        {
            reset_when_dropped(&*transport);
        }
        self.protocol.abort();
        let error = self.protocol.failure().cloned().map(Error::from);
        self.record.closed(self.protocol.closure(), self.protocol.stats(), error.as_ref());
    }

    /// The next message of those that were read ahead.
    pub(crate) fn take_read(&mut self) -> Option<Message> {
        self.protocol.try_receive()
    }

    /// What `receive` returns now; `None` when it has to wait.
    pub(crate) fn take_message(&mut self) -> Option<Result<Message, Error>> {
        match self.protocol.receive() {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// Accepts a message to send; `None` when the output is full and the sender has to wait.
    pub(crate) fn put_message(&mut self, message: MessageRef<'_>, cx: &mut Context<'_>) -> Option<Result<(), Error>> {
        let Driver { protocol, transport, is_blocked, .. } = self;
        let sent = protocol.send_early(message, |protocol| write(protocol, transport, is_blocked, cx));
        self.message_sent(message, sent, cx)
    }

    /// [`Driver::put_message`] for a message to many connections.
    pub(crate) fn put_prepared(
        &mut self,
        message: &PreparedMessage,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), Error>> {
        let Driver { protocol, transport, is_blocked, .. } = self;
        let sent = protocol.send_prepared_early(message, |protocol| write(protocol, transport, is_blocked, cx));
        self.message_sent(MessageRef::Binary(message.payload()), sent, cx)
    }

    fn message_sent(
        &mut self,
        message: MessageRef<'_>,
        sent: Poll<Result<Sent, SendError>>,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), Error>> {
        match sent {
            Poll::Pending => None,
            Poll::Ready(Ok(sent)) => Some(self.sent(message, sent, cx)),
            Poll::Ready(Err(error)) => Some(Err(error.into())),
        }
    }

    /// Does what the protocol asks for after a message was sent.
    fn sent(&mut self, message: MessageRef<'_>, sent: Sent, cx: &mut Context<'_>) -> Result<(), Error> {
        if sent == Sent::Now {
            self.write(cx);
            let outcome = self.protocol.confirm(message);
            self.record.publish(self.protocol.stats());
            return outcome.map_err(Error::from);
        }
        self.notices.flush |= sent == Sent::BatchBegun;
        Ok(())
    }

    /// What `receive_data` returns now; within, `None` once the peer has closed. `None` when the call has to wait.
    pub(crate) fn take_data(&mut self) -> Option<Result<Option<Message>, Error>> {
        loop {
            let outcome = match self.protocol.receive() {
                Poll::Ready(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Poll::Ready(Ok(Message::Close(_))) => return Some(Ok(None)),
                outcome => outcome.map_ok(Some),
            };
            return self.unless_closed(outcome);
        }
    }

    /// Sends a ping whose pong [`Driver::take_pong`] waits for; `None` when the call has to wait.
    pub(crate) fn put_ping(&mut self, payload: &Bytes, cx: &mut Context<'_>) -> Option<Result<PingId, Error>> {
        let (id, sent) = match self.protocol.ping(payload, Driver::now()) {
            Poll::Pending => return None,
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(error)) => return Some(Err(error.into())),
        };
        let outcome = self.sent(MessageRef::Ping(payload), sent, cx);
        if outcome.is_err() {
            self.protocol.forget_ping(id);
        }
        Some(outcome.map(|()| id))
    }

    /// The time from a ping to its pong; `None` while it has not arrived.
    pub(crate) fn take_pong(&mut self, id: PingId) -> Option<Result<Duration, Error>> {
        match self.protocol.poll_pong(id) {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// Nobody waits for the pong of this ping any more.
    pub(crate) fn forget_ping(&mut self, id: PingId) {
        self.protocol.forget_ping(id);
    }

    /// Writes everything that was sent; `None` while the transport does not accept all of it.
    pub(crate) fn flush_all(&mut self, cx: &mut Context<'_>) -> Option<Result<(), Error>> {
        self.flush(cx);
        match self.protocol.poll_written() {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// How the connection ended; `None` before.
    pub(crate) fn closure(&self) -> Option<Closure> {
        let closure = self.protocol.closure();
        self.is_closed().then(|| Closure {
            received: closure.received.clone(),
            sent: closure.sent.clone(),
            error: closure.failure.clone().map(Error::from),
        })
    }

    /// Begins to receive the next message in pieces, and returns its kind; within, `None` once the peer has closed. `None` when
    /// the call has to wait.
    pub(crate) fn take_stream(&mut self) -> Option<Result<Option<MessageKind>, Error>> {
        let outcome = self.protocol.receive_stream();
        self.unless_closed(outcome)
    }

    /// Takes the next piece of the message that is received in pieces; `None` when the call has to wait.
    pub(crate) fn take_piece(&mut self) -> Option<Result<Piece, Error>> {
        match self.protocol.receive_piece() {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// Discards the rest of the message that is received in pieces.
    pub(crate) fn discard_stream(&mut self) {
        self.protocol.discard_stream();
    }

    /// Takes the next frame; within, `None` once the peer has closed. `None` when the call has to wait.
    pub(crate) fn take_frame(&mut self) -> Option<Result<Option<Frame>, Error>> {
        let outcome = self.protocol.receive_frame().map_ok(Some);
        self.unless_closed(outcome)
    }

    /// After the peer's close frame, there is nothing more, which is no error.
    fn unless_closed<T>(&self, outcome: Poll<Result<Option<T>, ReceiveError>>) -> Option<Result<Option<T>, Error>> {
        match outcome {
            Poll::Ready(Err(ReceiveError::Closed)) if self.protocol.closure().received.is_some() => Some(Ok(None)),
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// Begins to send a message in pieces; `None` when the call has to wait.
    pub(crate) fn begin_stream(&mut self, kind: MessageKind) -> Option<Result<(), Error>> {
        match self.protocol.send_stream(kind) {
            Poll::Ready(outcome) => Some(outcome.map_err(Error::from)),
            Poll::Pending => None,
        }
    }

    /// Sends the next piece of the message that is sent in pieces, and returns its length in bytes; `None` when the call has to
    /// wait.
    pub(crate) fn put_piece(
        &mut self,
        data: &[u8],
        is_last: bool,
        cx: &mut Context<'_>,
    ) -> Option<Result<usize, Error>> {
        let sent = self.protocol.send_piece(data, is_last);
        self.part_sent(sent, cx)
    }

    /// Cuts short the message that is sent in pieces.
    pub(crate) fn cancel_stream(&mut self, cx: &mut Context<'_>) {
        self.protocol.cancel_send(Driver::now());
        self.write(cx);
    }

    /// Sends a frame; `None` when the call has to wait.
    pub(crate) fn put_frame(&mut self, frame: &Frame, cx: &mut Context<'_>) -> Option<Result<(), Error>> {
        let sent = self.protocol.send_frame(frame, Driver::now()).map_ok(|sent| ((), sent));
        self.part_sent(sent, cx)
    }

    fn part_sent<T>(
        &mut self,
        sent: Poll<Result<(T, Sent), SendError>>,
        cx: &mut Context<'_>,
    ) -> Option<Result<T, Error>> {
        let outcome = match sent {
            Poll::Pending => return None,
            Poll::Ready(Ok((part, Sent::Now))) => {
                self.write(cx);
                let outcome = self.protocol.confirm_part().map(|()| part);
                self.record.publish(self.protocol.stats());
                outcome
            }
            Poll::Ready(Ok((part, sent))) => {
                self.notices.flush |= sent == Sent::BatchBegun;
                Ok(part)
            }
            Poll::Ready(Err(error)) => Err(error),
        };
        Some(outcome.map_err(Error::from))
    }

    /// Begins the closing handshake, unless it has begun; `None` sends a close frame without a code.
    pub(crate) fn close(&mut self, info: Option<&CloseInfo>, cx: &mut Context<'_>) {
        self.protocol.close(info, Driver::now());
        self.write(cx);
    }

    /// Closes because nobody holds the connection any more; received messages are dropped.
    pub(crate) fn abandon(&mut self, info: &CloseInfo, cx: &mut Context<'_>) {
        self.protocol.abandon(info, Driver::now());
        self.write(cx);
    }

    /// A send has waited for the write timeout.
    pub(crate) fn send_timed_out(&self) {
        self.record.send_timed_out();
    }

    /// Ends without waiting for the peer any longer: it gets a reset.
    pub(crate) fn abort(&mut self) {
        if let Some(transport) = &self.transport {
            reset_when_dropped(&**transport);
        }
        self.protocol.abort();
    }

    /// Ends if the peer has reset the connection, though reading may pause; gives whether it has.
    pub(crate) fn notice_reset(&mut self) -> bool {
        if let Some(error) = self.transport.as_deref().and_then(take_error) {
            self.protocol.read_failed(error);
        }
        // The kernel reports it once, and a read or a write may have been first.
        matches!(self.protocol.failure(), Some(Failure::Read { .. } | Failure::Write(_)))
    }

    /// Ends because the runtime that drove the connection has stopped.
    pub(crate) fn stop(&mut self) {
        self.protocol.abort();
    }

    fn report_events(&mut self) {
        while let Some(event) = self.protocol.poll_event() {
            match event {
                Event::Violated(violation) => self.record.violated(&violation),
                _ => self.close_transport(),
            }
        }
    }

    /// Writes until the output is empty or the transport accepts no more.
    fn write(&mut self, cx: &mut Context<'_>) {
        write(&mut self.protocol, &mut self.transport, &mut self.is_blocked, cx);
    }

    /// Reads until the transport has no more, or reading pauses.
    fn read(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(transport) = &mut self.transport else { return };
        while let Some(mut buffer) = self.protocol.read_buffer() {
            match poll_read_buf(Pin::new(&mut *transport), cx, &mut buffer) {
                Poll::Pending => return self.protocol.read_blocked(),
                Poll::Ready(Ok(0)) => return self.protocol.input_ended(),
                Poll::Ready(Ok(count)) => self.protocol.received(count, now),
                Poll::Ready(Err(error)) => return self.protocol.read_failed(error),
            }
        }
        if self.protocol.wants_resume() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Drive for Driver {
    fn drive(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.protocol.flush();
        self.protocol.resume(now);
        loop {
            self.write(cx);
            self.read(now, cx);
            self.protocol.handle_timeout(now);
            if self.is_blocked || !self.protocol.wants_write() {
                break;
            }
        }
        self.record.publish(self.protocol.stats());
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        self.protocol.flush();
        self.write(cx);
        self.record.publish(self.protocol.stats());
    }

    fn deadline(&self) -> Option<Instant> {
        self.protocol.poll_timeout()
    }

    fn is_closed(&self) -> bool {
        self.protocol.state() == State::Closed
    }

    /// The log is told of events here as well, and the transport is dropped once the connection is closed.
    fn take_notices(&mut self) -> Notices {
        if self.protocol.has_event() {
            self.report_events();
        }
        let changes = self.protocol.take_changes();
        self.notices.callers |= changes.callers;
        self.notices.task |= changes.driver;
        std::mem::take(&mut self.notices)
    }

    fn now() -> Instant {
        // tokio's clock, which tests may pause.
        tokio::time::Instant::now().into_std()
    }
}

/// A mask. An array of bytes would take a random number for each of them.
fn random() -> [u8; 4] {
    rand::random::<u32>().to_ne_bytes()
}

fn write(
    protocol: &mut Protocol,
    transport: &mut Option<Box<dyn Transport>>,
    is_blocked: &mut bool,
    cx: &mut Context<'_>,
) {
    let Some(transport) = transport else { return };
    let outcome = poll_write(protocol, &mut **transport, cx);
    *is_blocked = outcome.is_pending();
    if let Poll::Ready(Err(error)) = outcome {
        protocol.write_failed(error, Driver::now());
    }
}

fn poll_write(
    protocol: &mut Protocol,
    mut transport: &mut (dyn Transport + 'static),
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !protocol.transmit().is_empty() {
        let written = ready!(Pin::new(&mut transport).poll_write(cx, protocol.transmit()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        protocol.transmitted(written);
    }
    if protocol.wants_flush() {
        ready!(Pin::new(&mut transport).poll_flush(cx))?;
        protocol.flushed();
    }
    if protocol.wants_half_close() {
        ready!(Pin::new(&mut transport).poll_shutdown(cx))?;
        protocol.half_closed(Driver::now());
    }
    if protocol.wants_linger() {
        protocol.linger(Driver::now());
    }
    Poll::Ready(Ok(()))
}
