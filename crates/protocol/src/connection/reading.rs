//! Bytes in: decoding, pausing, and what happens to each message that arrives.

use super::{
    CONTROL_BATCH, Changes, Connection, Failure, GRACE_PERIOD, Initiator, MAX_READ, MIN_READ, OUTPUT_BOUND, Outcome,
    READ_STEP,
    inbox::Front,
    phase::{Liveness, Phase},
};
use crate::{
    CloseInfo, Message, MessageRef, Role, Violation,
    close::NO_STATUS,
    frame::Frame,
    message::{Claim, Unit},
};
use bytes::{BufMut, BytesMut, buf::Limit};
use std::{io, sync::Arc, time::Instant};

impl Connection {
    /// Goes on with reading that had paused, as far as the inbox has capacity now. Call it before reading, and when
    /// [`Changes::driver`](super::Changes::driver) says so. Afterwards, poll [`Connection::read_buffer`].
    pub fn resume(&mut self, now: Instant) {
        self.controls = 0;
        self.reader.begin_turn();
        if self.is_paused {
            self.decode(now);
        }
    }

    /// Whether reading has paused only so that others get their turn: a peer that sends pings without end, or that compresses
    /// a huge message that is discarded, would keep the caller busy. Call [`Connection::resume`] soon.
    pub fn wants_resume(&self) -> bool {
        self.is_paused && (self.controls >= CONTROL_BATCH || self.reader.is_turn_over())
    }

    /// Where to read what the transport has; `None` while reading is paused, and after the end.
    pub fn read_buffer(&mut self) -> Option<Limit<&mut BytesMut>> {
        let receives = match self.phase {
            _ if self.is_paused => return None,
            Phase::Grace { .. } | Phase::Closed { .. } | Phase::Ending { input_ended: true, .. } => return None,
            Phase::Ending { .. } => false,
            Phase::Open(_) | Phase::ReadOnly { .. } | Phase::CloseSent { .. } => true,
        };
        if receives && self.input.is_empty() && self.reader.read_in_place().is_some() {
            // Asked twice: the borrow of a first answer would last through the other branch.
            return self.reader.read_in_place();
        }
        self.input.reserve(if self.is_inbox_full() { MIN_READ } else { self.read_size });
        Some((&mut self.input).limit(usize::MAX))
    }

    /// `count` bytes were read into [`Connection::read_buffer`]. Afterwards, write and receive.
    pub fn received(&mut self, count: usize, now: Instant) {
        if count >= self.read_size {
            self.read_size = MAX_READ.min(self.read_size * READ_STEP);
        }
        self.received += count;
        match &mut self.phase {
            Phase::Open(liveness) => *liveness = Liveness { heard: now, pinged: None },
            Phase::ReadOnly { until, .. } => *until = now + self.config.close_timeout,
            Phase::CloseSent { .. } => {}
            Phase::Grace { .. } | Phase::Ending { .. } => return self.input.clear(),
            Phase::Closed { .. } => return self.input = BytesMut::new(),
        }
        self.decode(now);
    }

    /// Receives bytes that were read elsewhere: behind the opening handshake, or by a caller with a buffer of its own.
    pub fn receive_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.input.extend_from_slice(bytes);
        self.received(bytes.len(), now);
    }

    /// The transport has nothing more to read for now. Releases memory.
    pub fn read_blocked(&mut self) {
        let received = std::mem::take(&mut self.received);
        if received > 0 && received < self.read_size / READ_STEP {
            self.read_size = MIN_READ.max(self.read_size / READ_STEP);
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// The peer has ended its direction of the transport.
    pub fn input_ended(&mut self) {
        match &mut self.phase {
            // A peer that only sends no more may still read.
            Phase::Ending { input_ended, .. } => {
                *input_ended = true;
                self.finish_when_written();
            }
            _ => self.lose(Failure::Eof { within_message: self.reader.is_within_message() }),
        }
    }

    /// Reading from the transport failed.
    pub fn read_failed(&mut self, error: io::Error) {
        let within_message = self.reader.is_within_message();
        self.lose(Failure::Read { error: Arc::new(error), within_message });
    }

    /// Decodes until bytes are missing, or until a data message waits for the inbox. A ping or a close frame that comes
    /// before such a message is noticed though the inbox is full.
    fn decode(&mut self, now: Instant) {
        let before = self.reader.progress();
        self.decode_units(now);
        // A call may claim the message, or take a piece of it. Only once: a waiting call that is woken resumes reading.
        if self.reader.progress() != before {
            self.changes.callers |= matches!(self.reader.claimed(), Some(Claim::Open | Claim::Pieces));
        }
    }

    fn decode_units(&mut self, now: Instant) {
        self.is_paused = false;
        while self.phase.receives() {
            if self.controls >= CONTROL_BATCH {
                self.is_paused = true;
                return;
            }
            self.is_paused = self.is_inbox_full() && self.reader.is_data_next(&self.input);
            if self.is_paused {
                return;
            }
            if !self.decode_unit(now) {
                self.is_paused = self.reader.is_stopped() || self.reader.is_turn_over();
                return;
            }
        }
    }

    /// Whether a data message has to wait for the inbox.
    fn is_inbox_full(&self) -> bool {
        // Most often it is empty.
        self.inbox.bytes() > 0 && self.inbox.bytes() >= self.inbox_bound()
    }

    /// Bytes of unread messages at which reading pauses: less of one whose end has not arrived.
    pub(super) fn inbox_bound(&self) -> usize {
        match self.inbox.front() {
            Front::Incomplete(_) => self.config.hold(),
            Front::Nothing | Front::Complete(_) | Front::Close => self.config.inbound_buffer,
        }
    }

    /// Decodes one message or fragment, whatever the inbox holds; returns whether there was one, or a violation.
    pub(super) fn decode_unit(&mut self, now: Instant) -> bool {
        match self.reader.next_unit(&mut self.input) {
            Ok(Some(Unit::Message(message))) => self.arrived(message, now),
            Ok(Some(Unit::Fragment { frame, size })) => self.fragment_arrived(frame, size),
            Ok(Some(Unit::Discarded { size })) => self.ended(size),
            Ok(None) => return false,
            Err(violation) => self.violated(violation, now),
        }
        true
    }

    fn arrived(&mut self, message: Message, now: Instant) {
        self.stats.received.add(MessageRef::from(&message));
        self.controls += u32::from(!MessageRef::from(&message).is_data());
        match &message {
            Message::Text(_) | Message::Binary(_) => self.pacing.received_data(),
            Message::Ping(payload) if matches!(self.phase, Phase::Open(_)) => {
                self.pong = Some(payload.clone());
                if self.output.len() < OUTPUT_BOUND {
                    self.write_pong();
                }
            }
            Message::Pong(payload) if payload[..] == self.tag => return,
            Message::Pong(payload) if self.pings.answer(payload, now) => return self.changes.callers = true,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(info) => self.close_arrived(info.clone(), now),
        }
        if !self.is_abandoned {
            self.stats.controls_dropped += u64::from(self.inbox.push(message));
            self.changes.callers = true;
        }
    }

    fn fragment_arrived(&mut self, fragment: Frame, size: u64) {
        if fragment.is_final {
            self.ended(size);
        }
        self.inbox.push_fragment(fragment);
        self.changes.callers = true;
    }

    /// A message has arrived to its end that was not assembled.
    fn ended(&mut self, size: u64) {
        self.stats.received.messages += 1;
        self.stats.received.bytes += size;
        self.pacing.received_data();
    }

    fn close_arrived(&mut self, info: CloseInfo, now: Instant) {
        self.closure.begin(Initiator::Peer);
        let echo = (info.code != NO_STATUS).then_some(CloseInfo { code: info.code, reason: None });
        self.closure.received = Some(info);
        let is_server = self.config.role == Role::Server;
        match self.phase {
            Phase::Open(_) => {
                self.closure.decide(Outcome::Clean);
                // The code goes back as it came (RFC 6455 section 5.5.1).
                self.write_close(echo.as_ref());
                self.end(now + self.config.close_timeout, is_server, None);
            }
            Phase::CloseSent { close_by, write_error: None } => {
                self.closure.decide(Outcome::Clean);
                self.end(close_by, is_server, None);
            }
            // The peer has nothing more to say, and it never gets our close frame.
            _ => self.closed(Outcome::Lost, None),
        }
    }

    /// The peer is told at once, unless the application has yet to receive data messages that came before and can still
    /// send: it may answer them first, as it would if nothing were read ahead.
    fn violated(&mut self, violation: Violation, now: Instant) {
        self.violated = Some(violation.clone());
        let close_by = now + self.config.close_timeout;
        match self.phase {
            Phase::Open(_) if self.inbox.bytes() > 0 => {
                self.phase = Phase::Grace { violation, until: now + GRACE_PERIOD, close_by };
                self.changes = Changes { callers: true, driver: true };
            }
            Phase::Open(_) => self.fail(violation, close_by),
            Phase::CloseSent { close_by, .. } => self.fail(violation, close_by),
            _ => self.lose(violation.into()),
        }
    }

    /// Tells the peer how it violated the protocol, unless a close frame was sent, and ends (RFC 6455 section 7.1.7).
    fn fail(&mut self, violation: Violation, close_by: Instant) {
        let failure = Failure::from(violation.clone());
        self.closure.begin(Initiator::Protocol);
        self.closure.decide(failure.outcome());
        if self.closure.sent.is_none() {
            self.write_close(Some(&CloseInfo { code: violation.close_code(), reason: None }));
        }
        self.end(close_by, true, Some(failure));
    }

    /// Tells the peer of the violation that is pending, if one is.
    pub(super) fn end_grace(&mut self) {
        if let Phase::Grace { violation, close_by, .. } = &self.phase {
            let (violation, close_by) = (violation.clone(), *close_by);
            self.fail(violation, close_by);
        }
    }

    /// The transport gives nothing more.
    pub(super) fn lose(&mut self, failure: Failure) {
        let failure = match &mut self.phase {
            Phase::Ending { failure, .. } => failure.take(),
            Phase::Closed { .. } => return,
            Phase::Grace { violation, .. } => Some(violation.clone().into()),
            // A violation says more than the write error before it.
            Phase::ReadOnly { error, .. } if !matches!(failure, Failure::Violation(_)) => {
                Some(Failure::Write(Arc::clone(error)))
            }
            Phase::CloseSent { write_error: Some(error), .. } => Some(Failure::Write(Arc::clone(error))),
            _ => Some(failure),
        };
        self.closed(failure.as_ref().map_or(Outcome::Clean, Failure::outcome), failure);
    }
}
