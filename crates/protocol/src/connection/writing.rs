//! Bytes out: the output, control frames, ending the transport, and the timeouts that write.

use super::{
    Changes, Connection, Failure, Initiator, LINGER, MAX_READ, OUTPUT_BOUND, Outcome, SendError,
    phase::{HalfClose, Liveness, Phase},
};
use crate::{CloseInfo, MessageRef, close::NO_STATUS, frame::Opcode};
use bytes::{Buf, Bytes, BytesMut};
use std::{io, sync::Arc, task::Poll, time::Instant};

impl Connection {
    /// The bytes to write now, none while a batch is held back. After a keep-alive timeout it still returns the last
    /// close frame once the connection is closed: write what the transport takes at once.
    pub fn transmit(&self) -> &[u8] {
        if self.pacing.is_holding() { &[] } else { &self.output }
    }

    /// The first `count` bytes of [`Connection::transmit`] were written. Poll that again, then
    /// [`Connection::wants_flush`].
    pub fn transmitted(&mut self, count: usize) {
        let was_full = self.output.len() >= OUTPUT_BOUND;
        self.output.advance(count);
        self.unflushed |= count > 0;
        if was_full && self.output.len() < OUTPUT_BOUND {
            // Between two fragments, if a message is sent in some.
            self.write_pong();
            self.write_queued(OUTPUT_BOUND);
            self.changes.callers |= self.queued.is_empty();
        }
        if self.output.is_empty() {
            // An idle connection holds no buffer.
            self.output = BytesMut::new();
        }
    }

    /// Whether the transport is to be flushed, once [`Connection::transmit`] returns nothing.
    pub fn wants_flush(&self) -> bool {
        self.unflushed
    }

    /// The transport was flushed. Poll [`Connection::wants_half_close`] next.
    pub fn flushed(&mut self) {
        self.unflushed = false;
        self.changes.callers |= std::mem::take(&mut self.is_written_awaited);
        self.finish_when_written();
    }

    /// Whether everything that was sent before is written and flushed; `Pending` until then, and
    /// [`Changes::callers`] says when to try again. Call [`Connection::flush`] first, and write: output that is held
    /// back is not written.
    ///
    /// # Errors
    /// [`SendError::Write`] when writing failed, and [`SendError::Closed`] when the connection is closed.
    pub fn poll_written(&mut self) -> Poll<Result<(), SendError>> {
        match &self.phase {
            Phase::ReadOnly { .. } => return Poll::Ready(self.check_open()),
            Phase::CloseSent { write_error: Some(error), .. } => {
                return Poll::Ready(Err(SendError::Write(Arc::clone(error))));
            }
            Phase::Closed { .. } => return Poll::Ready(Err(SendError::Closed)),
            Phase::Open(_) | Phase::Grace { .. } | Phase::CloseSent { .. } | Phase::Ending { .. } => {}
        }
        // Queued fragments and a queued pong wait only while the output is full.
        self.is_written_awaited = !self.output.is_empty() || self.unflushed;
        if self.is_written_awaited { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Whether this direction of the transport is to be ended, once all output is written and flushed.
    pub fn wants_half_close(&self) -> bool {
        matches!(self.phase, Phase::Ending { half_close: HalfClose::Due, .. })
    }

    /// This direction of the transport was ended. A peer that has sent its close frame has [`LINGER`] to end the other.
    pub fn half_closed(&mut self, now: Instant) {
        if let Phase::Ending { half_close, close_by, .. } = &mut self.phase {
            *half_close = HalfClose::Done;
            if self.closure.received.is_some() {
                *close_by = (*close_by).min(now + LINGER);
                self.changes.driver = true;
            }
        }
        self.finish_when_written();
    }

    /// Whether the closing handshake is done and written, and the peer is to end the transport first.
    pub fn wants_linger(&self) -> bool {
        matches!(self.phase, Phase::Ending { half_close: HalfClose::Peer, .. })
            && self.output.is_empty()
            && !self.unflushed
    }

    /// Gives the peer [`LINGER`] to end the transport (RFC 6455 section 7.1.1 lets a client end it at any time).
    pub fn linger(&mut self, now: Instant) {
        if let Phase::Ending { half_close, close_by, .. } = &mut self.phase {
            *half_close = HalfClose::Awaited;
            *close_by = (*close_by).min(now + LINGER);
            self.changes.driver = true;
        }
    }

    /// Whether there is something to write, to flush or to half-close.
    pub fn wants_write(&self) -> bool {
        match self.phase {
            Phase::Closed { .. } => false,
            _ => !self.transmit().is_empty() || self.unflushed || self.wants_half_close(),
        }
    }

    /// Writing to the transport, flushing it or ending it failed.
    pub fn write_failed(&mut self, error: io::Error, now: Instant) {
        self.discard_output();
        let error = Arc::new(error);
        match &mut self.phase {
            Phase::Open(_) => {
                self.phase = Phase::ReadOnly { error, until: now + self.config.close_timeout, is_reported: false };
                self.changes = Changes { callers: true, driver: true };
            }
            // Nobody receives what may still come.
            Phase::CloseSent { .. } if self.is_abandoned => self.lose(Failure::Write(error)),
            Phase::CloseSent { write_error, .. } => {
                write_error.get_or_insert(error);
                self.changes.callers |= std::mem::take(&mut self.is_written_awaited);
            }
            Phase::ReadOnly { .. } | Phase::Closed { .. } => {}
            Phase::Grace { .. } | Phase::Ending { .. } => self.lose(Failure::Write(error)),
        }
    }

    /// Drops the output that was not written. A close frame is the last part of it.
    pub(super) fn discard_output(&mut self) {
        if !self.output.is_empty() || self.unflushed {
            self.closure.sent = None;
        }
        self.output = BytesMut::new();
        self.queued = Bytes::new();
        self.pong = None;
        self.unflushed = false;
        self.pacing.release();
    }

    /// Writes a message in fragments. Those that the output has no capacity for are queued, so that control frames may go
    /// before them.
    pub(super) fn write_fragments(&mut self, opcode: Opcode, payload: &[u8], is_compressed: bool) {
        // Only the first fragment of a compressed message is marked.
        let first = if is_compressed {
            self.writer.compressed_fragment(opcode, payload, true, &mut self.output)
        } else {
            self.writer.fragment(opcode, payload, true, &mut self.output)
        };
        let mut rest = &payload[first..];
        while !rest.is_empty() && self.output.len() < OUTPUT_BOUND {
            rest = &rest[self.writer.fragment(Opcode::Continuation, rest, true, &mut self.output)..];
        }
        self.queued = Bytes::copy_from_slice(rest);
    }

    /// Writes queued fragments until the output holds `most` bytes.
    fn write_queued(&mut self, most: usize) {
        while !self.queued.is_empty() && self.output.len() < most {
            let count = self.writer.fragment(Opcode::Continuation, &self.queued, true, &mut self.output);
            self.queued.advance(count);
        }
    }

    pub(super) fn write_close(&mut self, info: Option<&CloseInfo>) {
        // Nothing may follow the close frame.
        self.write_pong();
        self.write_queued(usize::MAX);
        self.closure.sent = Some(info.cloned().unwrap_or(CloseInfo { code: NO_STATUS, reason: None }));
        match info {
            Some(info) => self.writer.message(MessageRef::Close(info), &mut self.output),
            None => self.writer.begin(Opcode::Close, &[], &mut self.output).put(0, &mut self.output),
        }
        self.pacing.release();
    }

    /// Answers the ping whose answer waited for the output.
    pub(super) fn write_pong(&mut self) {
        if let Some(pong) = self.pong.take() {
            self.writer.message(MessageRef::Pong(&pong), &mut self.output);
            self.stats.pings_answered += 1;
            self.pacing.release();
        }
    }

    /// Closes once the peer has ended its direction and everything is written.
    pub(super) fn finish_when_written(&mut self) {
        if matches!(self.phase, Phase::Ending { input_ended: true, .. }) && !self.wants_write() {
            self.lose(Failure::Eof { within_message: false });
        }
    }

    /// Receives nothing more, and ends once the output is written.
    pub(super) fn end(&mut self, close_by: Instant, half_close_first: bool, failure: Option<Failure>) {
        self.closure.fail(failure.as_ref());
        let half_close = if half_close_first { HalfClose::Due } else { HalfClose::Peer };
        self.phase = Phase::Ending { close_by, half_close, input_ended: false, failure };
        self.input.clear();
        self.is_paused = false;
        self.changes = Changes { callers: true, driver: true };
    }

    pub(super) fn closed(&mut self, outcome: Outcome, failure: Option<Failure>) {
        if !matches!(failure, Some(Failure::KeepAlive)) {
            self.discard_output();
        }
        self.closure.decide(outcome);
        self.closure.fail(failure.as_ref());
        self.phase = Phase::Closed { failure };
        self.reader.clear();
        self.writer.clear();
        self.compression = None;
        self.input = BytesMut::new();
        self.pong = None;
        self.is_paused = false;
        self.closed_event = true;
        self.changes = Changes { callers: true, driver: true };
    }
}

/// Time.
impl Connection {
    /// When [`Connection::handle_timeout`] is to be called next; `None` for never. Poll it after every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Open(liveness) => liveness.pinged.unwrap_or(liveness.heard).checked_add(self.config.keep_alive?),
            Phase::Grace { until, .. } | Phase::ReadOnly { until, .. } => Some(*until),
            Phase::CloseSent { close_by, .. } | Phase::Ending { close_by, .. } => Some(*close_by),
            Phase::Closed { .. } => None,
        }
    }

    /// Does what is due at `now`; nothing before [`Connection::poll_timeout`]. Afterwards, write.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.phase {
            // The application is slow, not the peer: unread data is a sign of life.
            Phase::Open(liveness) if self.is_paused => *liveness = Liveness { heard: now, pinged: None },
            Phase::Open(liveness) if liveness.pinged.is_none() => {
                liveness.pinged = Some(now);
                self.writer.message(MessageRef::Ping(&self.tag), &mut self.output);
                self.stats.keep_alive_pings += 1;
                self.pacing.release();
            }
            Phase::Open(_) => {
                self.closure.begin(Initiator::Protocol);
                self.write_close(Some(&CloseInfo { code: 1011, reason: Some("keep-alive timeout".to_owned()) }));
                self.lose(Failure::KeepAlive);
            }
            Phase::Grace { .. } => self.end_grace(),
            Phase::ReadOnly { until, .. } if self.is_paused => *until = now + self.config.close_timeout,
            Phase::CloseSent { .. } => {
                // Messages that the full inbox had no capacity for, before nobody can decode them any more: as many as fill
                // it once more, because one read of compressed messages may be very large.
                let bound = self.inbox.bytes().saturating_add(self.config.inbound_buffer.max(MAX_READ));
                while matches!(self.phase, Phase::CloseSent { .. })
                    && self.inbox.bytes() < bound
                    && self.decode_unit(now)
                {}
                self.lose(Failure::CloseTimeout);
            }
            Phase::ReadOnly { .. } | Phase::Ending { .. } | Phase::Closed { .. } => self.lose(Failure::CloseTimeout),
        }
    }
}
