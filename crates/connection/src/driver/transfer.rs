//! How a driver moves bytes: frames out of the output, messages into the inbox.

use super::{ANSWER_WAIT, Driver, LEAST_READ, MOST_READ, Notices, OUTPUT_BOUND, Phase, READ_STEP};
use crate::{
    CloseInfo, Error, Message, MessageRef,
    engine::Violation,
    error::chain,
    record::{Initiator, Outcome},
};
use bytes::{Buf, BytesMut};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{io::AsyncWrite, time::Instant};
use tokio_util::io::poll_read_buf;

impl Driver {
    /// Writes until the output is empty or the socket takes no more.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        match self.poll_write(cx) {
            Poll::Pending => self.blocked = true,
            Poll::Ready(Ok(())) => self.blocked = false,
            Poll::Ready(Err(error)) => self.write_failed(&error),
        }
        self.record.publish();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(transport) = &mut self.transport
            && !self.output.is_empty()
        {
            let full = self.output.len() >= OUTPUT_BOUND;
            let written = ready!(Pin::new(transport).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.unflushed = true;
            if self.output.len() < OUTPUT_BOUND {
                self.notices.waiters |= full;
                self.put_pong();
            }
        }
        // An idle connection holds no buffer.
        self.output = BytesMut::new();
        let Some(transport) = &mut self.transport else { return Poll::Ready(Ok(())) };
        if self.unflushed {
            ready!(Pin::new(&mut *transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.phase == Phase::Ending && self.ends_first && !self.ended {
            ready!(Pin::new(transport).poll_shutdown(cx))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing can be sent any more, but what the peer sent before is still to be read.
    fn write_failed(&mut self, error: &io::Error) {
        self.note_unsent();
        self.output = BytesMut::new();
        self.unflushed = false;
        self.blocked = false;
        self.pong = None;
        if !self.is_receiving() {
            return self.finish();
        }
        if self.write_error.is_none() {
            let error = Error::Io(chain(error));
            self.write_error = Some(error.clone());
            self.heard = Instant::now();
            self.notices = Notices { waiters: true, task: true, ..self.notices };
            if self.phase == Phase::Open {
                self.send_error = Some(error);
                self.phase = Phase::ReadOnly;
            }
        }
        // The guest can answer nothing that came before the violation.
        if let Some((violation, _)) = self.held.take() {
            self.fail(violation);
        }
        self.end_if_useless();
    }

    /// Reads and decodes until the socket has no more, or data waits that the full inbox does not take. A ping or a close
    /// frame that comes before such data is noticed.
    pub(super) fn read(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut total = 0;
        loop {
            self.decode();
            match self.phase {
                Phase::Closed => return,
                Phase::Ending => self.input.clear(),
                _ if self.paused => return,
                _ if self.control_left == 0 => return cx.waker().wake_by_ref(),
                _ => {}
            }
            match self.poll_read(cx) {
                Poll::Pending => break,
                // A peer that only says no more may still read.
                Poll::Ready(Ok(0)) if self.phase == Phase::Ending && self.has_to_write() => return,
                Poll::Ready(Ok(0)) => return self.lost("the peer ended the connection without a close frame"),
                Poll::Ready(Ok(read)) => {
                    self.hear(now);
                    total += read;
                    if read >= self.read_size {
                        self.read_size = MOST_READ.min(self.read_size * READ_STEP);
                    }
                }
                Poll::Ready(Err(error)) => return self.lost(&chain(&error)),
            }
        }
        if total > 0 && total < self.read_size / READ_STEP {
            self.read_size = LEAST_READ.max(self.read_size / READ_STEP);
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(transport) = &mut self.transport else { return Poll::Ready(Ok(0)) };
        let receiving = self.phase < Phase::Ending && self.input.is_empty();
        if receiving && let Some(mut room) = self.decoder.room() {
            return poll_read_buf(Pin::new(transport), cx, &mut room);
        }
        let full = self.inbox.is_full(self.limits.inbound_buffer);
        self.input.reserve(if full { LEAST_READ } else { self.read_size });
        poll_read_buf(Pin::new(transport), cx, &mut self.input)
    }

    fn decode(&mut self) {
        while self.is_receiving() && self.control_left > 0 {
            let full = self.inbox.is_full(self.limits.inbound_buffer);
            self.paused = self.held.is_some() || full && self.decoder.is_data_next(&self.input);
            if self.paused {
                return;
            }
            match self.decoder.decode(&mut self.input) {
                Ok(Some(message)) => self.arrived(message),
                Ok(None) => return,
                Err(violation) => self.violated(violation),
            }
        }
    }

    /// Decodes what has been read though the inbox is full, before nobody can any more.
    pub(super) fn decode_rest(&mut self) {
        while self.phase == Phase::CloseSent {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(message)) => self.arrived(message),
                Ok(None) => return,
                Err(violation) => self.violated(violation),
            }
        }
    }

    fn arrived(&mut self, message: Message) {
        let borrowed = MessageRef::from(&message);
        self.record.received(borrowed);
        self.unanswered = self.unanswered.saturating_sub(borrowed.is_data().into());
        if matches!(message, Message::Ping(_) | Message::Pong(_)) {
            self.control_left = self.control_left.saturating_sub(1);
        }
        match &message {
            Message::Ping(data) if self.phase == Phase::Open => {
                self.pong = Some(data.clone());
                if self.output.len() < OUTPUT_BOUND {
                    self.put_pong();
                }
            }
            Message::Pong(data) if data[..] == self.tag => return,
            Message::Close(info) => {
                self.record.begin_end(Initiator::Peer);
                self.record.close_received(info);
                self.record.decide(if self.write_error.is_none() { Outcome::Clean } else { Outcome::Lost });
                if self.phase == Phase::Open {
                    // The code goes back as it came (RFC 6455 section 5.5.1).
                    let echo = CloseInfo { code: info.code, reason: None };
                    self.put_close(Some(&echo).filter(|_| info.check_sendable().is_ok()));
                }
                self.enter(Phase::Ending);
            }
            _ => {}
        }
        if !self.abandoned {
            if self.inbox.push(message) {
                self.record.dropped_control();
            }
            self.notices.waiters = true;
        }
    }

    /// The peer is told at once, unless the guest has yet to take what came before and can still send: it may
    /// answer that first, as it would have if nothing were read ahead.
    fn violated(&mut self, violation: Violation) {
        self.record.violated(&violation);
        if self.inbox.is_empty() || self.phase != Phase::Open {
            return self.fail(violation);
        }
        self.held = Some((violation, Instant::now() + ANSWER_WAIT));
        self.notices.task = true;
    }
}
