//! The state of one open WebSocket, from the end of the opening handshake to the end of the transport.
//!
//! [`Connection`] is driven by its caller:
//!
//! - **Reading.** Call [`Connection::resume`]; then read into [`Connection::read_buffer`] and call
//!   [`Connection::received`] until the buffer is `None`, because reading is paused, or until the transport has nothing
//!   more, which [`Connection::read_blocked`] reports. When it is paused and [`Connection::wants_resume`], begin again soon.
//! - **Writing.** Write [`Connection::transmit`], then call [`Connection::transmitted`]; then flush the transport while
//!   [`Connection::wants_flush`], and end this direction of it while [`Connection::wants_half_close`].
//! - **Time.** Call [`Connection::handle_timeout`] at [`Connection::poll_timeout`].
//! - **The application** calls [`Connection::send`], [`Connection::receive`] and [`Connection::close`].
//!
//! After any of these calls, poll [`Connection::transmit`] and [`Connection::poll_timeout`] again, and act on
//! [`Connection::take_changes`] and [`Connection::poll_event`].
//!
//! # Phases
//!
//! Every phase and every event; "-" changes nothing. A test covers each cell.
//!
//! | event | Open | Grace | ReadOnly | CloseSent | Ending | Closed |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | a data message arrives | received | - | received | received | discarded | - |
//! | a ping arrives | received, answered | - | received | received | discarded | - |
//! | the close frame arrives | echoed, Ending | - | Closed | Ending | discarded | - |
//! | a violation arrives | Grace while messages are unread, otherwise 1002, 1007 or 1009 and Ending | - | Closed | Ending | discarded | - |
//! | the peer ends its direction | Closed | Closed | Closed | Closed | Closed, once the output is written | - |
//! | reading fails | Closed | Closed | Closed | Closed | Closed | - |
//! | writing fails | ReadOnly | Closed | - | stays, failure noted | Closed | - |
//! | `send` | sent | sent | the write error once, then `Closed` error | `Closed` error | `Closed` error | `Closed` error |
//! | `close` | CloseSent | sends the application's code, Ending | CloseSent | - | - | - |
//! | `abandon` | CloseSent | sends the violation's code, Ending | Closed | - | - | - |
//! | `receive` with nothing unread | waits | sends the violation's code, Ending | waits | waits | the failure once, then `Closed` error | the same |
//! | the timeout | a ping, later 1011 and Closed | sends the violation's code, Ending | Closed | Closed | Closed | - |
//! | `abort` | Closed | Closed | Closed | Closed | Closed | - |

mod inbox;
mod outcome;
mod pacing;
mod phase;
#[cfg(test)]
mod tests;

pub use inbox::MAX_UNREAD_CONTROLS;
pub use outcome::{Closure, Failure, Initiator, Outcome, Stats, Traffic};
pub use pacing::{BATCH_DELAY, OUTPUT_BOUND, Sent};

use crate::{
    CloseInfo, InvalidMessage, Message, MessageRef, RandomSource, Role, Violation,
    close::NO_STATUS,
    message::{MessageReader, MessageWriter},
};
use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};
use inbox::Inbox;
use pacing::{EARLY_PART, Pacing};
use phase::{HalfClose, Liveness, Phase};
use std::{
    io,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// How long an application may answer the messages that came before a violation, before the peer is told.
pub const GRACE_PERIOD: Duration = Duration::from_millis(500);
/// How long a peer has to end the transport after the closing handshake, once this end did.
pub const LINGER: Duration = Duration::from_secs(1);
/// The size of a read from a peer that sends little.
const MIN_READ: usize = 4 * 1024;
/// The size of a read from a peer that sends much: a message of 64 KiB and its header.
const MAX_READ: usize = 64 * 1024 + 16;
/// The factor by which the size of a read changes when it was too small or too large.
const READ_STEP: usize = 4;
/// How many pings and pongs are decoded before the caller gets its turn: they never fill the inbox.
const CONTROL_BATCH: u32 = 512;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Config {
    /// Which end of the connection this is.
    pub role: Role,
    /// Bytes of one assembled message, in both directions.
    pub max_message_size: usize,
    /// Bytes of unread data messages at which reading pauses. One message may exceed it.
    pub inbound_buffer: usize,
    /// How long closing takes at most.
    pub close_timeout: Duration,
    /// The silence after which a ping is sent; `None` for no keep-alive.
    pub keep_alive: Option<Duration>,
}

impl Config {
    /// Messages up to 16 MiB, 1 MiB of unread messages, a close timeout of 10 s, and a keep-alive interval of 30 s.
    pub fn new(role: Role) -> Self {
        Config {
            role,
            max_message_size: 16 << 20,
            inbound_buffer: 1 << 20,
            close_timeout: Duration::from_secs(10),
            keep_alive: Some(Duration::from_secs(30)),
        }
    }
}

/// Where a connection is in its life, as the application sees it. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Both ends may send.
    Open,
    /// This end can send no more; messages may still arrive.
    Closing,
    /// The transport is to be dropped.
    Closed,
}

/// Why a send failed. Nothing of the message was sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// A close frame was sent or received, or the connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// Writing to the transport failed.
    #[error("{0}")]
    Write(#[source] Arc<io::Error>),
}

/// Why nothing more is received.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// How the connection failed; reported once.
    #[error(transparent)]
    Failed(Failure),
    /// The connection is closed, and every message and failure was reported.
    #[error("the connection is closed")]
    Closed,
}

/// Something that happened, for logs and counters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer violated the protocol.
    Violated(Violation),
    /// The connection is closed: see [`Connection::closure`] and [`Connection::stats`].
    Closed,
}

/// Who has something to do after a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// A send or a receive that had to wait may go on.
    pub callers: bool,
    /// [`Connection::poll_timeout`] moved, reading may go on, or there is output to write.
    pub driver: bool,
}

/// One open WebSocket. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    phase: Phase,
    reader: MessageReader,
    writer: MessageWriter,
    /// Bytes received but not decoded, and encoded but not written.
    input: BytesMut,
    output: BytesMut,
    /// How much the next read asks for.
    read_size: usize,
    /// Bytes received since [`Connection::read_blocked`].
    received: usize,
    inbox: Inbox,
    /// Reading has stopped until [`Connection::resume`]: a data message waits for the inbox, or it is another's turn.
    is_paused: bool,
    /// Pings and pongs decoded since [`Connection::resume`].
    controls: u32,
    /// The answer to the last ping, while the output is full (RFC 6455 section 5.5.3 lets it stand for earlier ones).
    pong: Option<Bytes>,
    /// The transport may still hold bytes that were written.
    unflushed: bool,
    /// The application holds the connection no more.
    is_abandoned: bool,
    pacing: Pacing,
    /// The payload of keep-alive pings, by which their pongs are recognised.
    tag: [u8; 8],
    closure: Closure,
    stats: Stats,
    violated: Option<Violation>,
    closed_event: bool,
    changes: Changes,
}

impl Connection {
    /// A connection whose opening handshake is done. Bytes that arrived behind the handshake go into
    /// [`Connection::receive_bytes`].
    pub fn new(config: Config, random: RandomSource, now: Instant) -> Self {
        let mut writer = MessageWriter::new(config.role, random);
        let mut tag = [0; 8];
        tag.as_chunks_mut().0.fill_with(|| writer.frames().random());
        Connection {
            config,
            phase: Phase::Open(Liveness { heard: now, pinged: None }),
            reader: MessageReader::new(config.role, config.max_message_size),
            writer,
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_size: MIN_READ,
            received: 0,
            inbox: Inbox::default(),
            is_paused: false,
            controls: 0,
            pong: None,
            unflushed: false,
            is_abandoned: false,
            pacing: Pacing::default(),
            tag,
            closure: Closure::default(),
            stats: Stats::default(),
            violated: None,
            closed_event: false,
            changes: Changes::default(),
        }
    }

    /// The limits.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Open(_) | Phase::Grace { .. } => State::Open,
            Phase::ReadOnly { .. } | Phase::CloseSent { .. } | Phase::Ending { .. } => State::Closing,
            Phase::Closed { .. } => State::Closed,
        }
    }

    /// How the connection ended, as far as it has.
    pub fn closure(&self) -> &Closure {
        &self.closure
    }

    /// How the connection failed, until [`Connection::receive`] reports it.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Ending { failure, .. } | Phase::Closed { failure } => failure.as_ref(),
            _ => None,
        }
    }

    /// What the connection has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes of memory that unread messages, the message being assembled, and the buffers hold.
    pub fn buffered(&self) -> usize {
        self.inbox.bytes() + self.reader.reserved() + self.input.capacity() + self.output.capacity()
    }

    /// The next event; `None` when there is none. At most one of each kind occurs in a connection's life.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(violation) = self.violated.take() {
            return Some(Event::Violated(violation));
        }
        std::mem::take(&mut self.closed_event).then_some(Event::Closed)
    }

    /// Who has something to do because of the calls since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }
}

/// Reading.
impl Connection {
    /// Goes on with reading that had paused, as far as the inbox has capacity now. Call it before reading, and when
    /// [`Changes::driver`] says so. Afterwards, poll [`Connection::read_buffer`].
    pub fn resume(&mut self, now: Instant) {
        self.controls = 0;
        if self.is_paused {
            self.decode(now);
        }
    }

    /// Whether reading has paused only so that others get their turn: a peer that sends pings without end would keep the
    /// caller busy. Call [`Connection::resume`] soon.
    pub fn wants_resume(&self) -> bool {
        self.is_paused && self.controls >= CONTROL_BATCH
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
        self.input.reserve(if self.inbox.is_full(self.config.inbound_buffer) { MIN_READ } else { self.read_size });
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
        self.is_paused = false;
        while self.phase.receives() {
            if self.controls >= CONTROL_BATCH {
                self.is_paused = true;
                return;
            }
            self.is_paused = self.inbox.is_full(self.config.inbound_buffer) && self.reader.is_data_next(&self.input);
            if self.is_paused || !self.decode_message(now) {
                return;
            }
        }
    }

    /// Decodes one message, whatever the inbox holds; returns whether there was one, or a violation.
    fn decode_message(&mut self, now: Instant) -> bool {
        match self.reader.next_message(&mut self.input) {
            Ok(Some(message)) => self.arrived(message, now),
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
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(info) => self.close_arrived(info.clone(), now),
        }
        if !self.is_abandoned {
            self.stats.controls_dropped += u64::from(self.inbox.push(message));
            self.changes.callers = true;
        }
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

    /// The peer is told at once, unless the application has yet to receive messages that came before and can still send:
    /// it may answer them first, as it would if nothing were read ahead.
    fn violated(&mut self, violation: Violation, now: Instant) {
        self.violated = Some(violation.clone());
        let close_by = now + self.config.close_timeout;
        match self.phase {
            Phase::Open(_) if !self.inbox.is_empty() => {
                self.phase = Phase::Grace { violation, until: now + GRACE_PERIOD, close_by };
                self.changes.driver = true;
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
    fn end_grace(&mut self) {
        if let Phase::Grace { violation, close_by, .. } = &self.phase {
            let (violation, close_by) = (violation.clone(), *close_by);
            self.fail(violation, close_by);
        }
    }

    /// The transport gives nothing more.
    fn lose(&mut self, failure: Failure) {
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

/// Writing.
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
            self.changes.callers = true;
            self.write_pong();
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
        self.finish_when_written();
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
            }
            Phase::ReadOnly { .. } | Phase::Closed { .. } => {}
            Phase::Grace { .. } | Phase::Ending { .. } => self.lose(Failure::Write(error)),
        }
    }

    /// Drops the output that was not written. A close frame is the last part of it.
    fn discard_output(&mut self) {
        if !self.output.is_empty() || self.unflushed {
            self.closure.sent = None;
        }
        self.output = BytesMut::new();
        self.pong = None;
        self.unflushed = false;
        self.pacing.release();
    }

    fn write_close(&mut self, info: Option<&CloseInfo>) {
        // Nothing may follow the close frame.
        self.write_pong();
        self.closure.sent = Some(info.cloned().unwrap_or(CloseInfo { code: NO_STATUS, reason: None }));
        match info {
            Some(info) => self.writer.message(MessageRef::Close(info), &mut self.output),
            None => self.writer.begin(crate::frame::Opcode::Close, &[], &mut self.output).put(0, &mut self.output),
        }
        self.pacing.release();
    }

    /// Answers the ping whose answer waited for the output.
    fn write_pong(&mut self) {
        if let Some(pong) = self.pong.take() {
            self.writer.message(MessageRef::Pong(&pong), &mut self.output);
            self.stats.pings_answered += 1;
            self.pacing.release();
        }
    }

    /// Closes once the peer has ended its direction and everything is written.
    fn finish_when_written(&mut self) {
        if matches!(self.phase, Phase::Ending { input_ended: true, .. }) && !self.wants_write() {
            self.lose(Failure::Eof { within_message: false });
        }
    }

    /// Receives nothing more, and ends once the output is written.
    fn end(&mut self, close_by: Instant, half_close_first: bool, failure: Option<Failure>) {
        let half_close = if half_close_first { HalfClose::Due } else { HalfClose::Peer };
        self.phase = Phase::Ending { close_by, half_close, input_ended: false, failure };
        self.input.clear();
        self.is_paused = false;
        self.changes = Changes { callers: true, driver: true };
    }

    fn closed(&mut self, outcome: Outcome, failure: Option<Failure>) {
        if !matches!(failure, Some(Failure::KeepAlive)) {
            self.discard_output();
        }
        self.closure.decide(outcome);
        self.phase = Phase::Closed { failure };
        self.reader.clear();
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
                // Messages that the full inbox had no capacity for, before nobody can decode them any more.
                while matches!(self.phase, Phase::CloseSent { .. }) && self.decode_message(now) {}
                self.lose(Failure::CloseTimeout);
            }
            Phase::ReadOnly { .. } | Phase::Ending { .. } | Phase::Closed { .. } => self.lose(Failure::CloseTimeout),
        }
    }
}

/// The application's calls.
impl Connection {
    /// Sends one message; a close frame is sent by [`Connection::close`]. `Pending` while the output holds
    /// [`OUTPUT_BOUND`] bytes: nothing was sent, and [`Changes::callers`] says when to try again. Afterwards, do what
    /// [`Sent`] says.
    ///
    /// # Errors
    /// [`SendError`]; [`InvalidMessage::CloseFrame`] for a close frame.
    pub fn send(&mut self, message: MessageRef<'_>) -> Poll<Result<Sent, SendError>> {
        self.send_early(message, |_| {})
    }

    /// [`Connection::send`], with a part of a large message offered early: when it helps the peer, `write` is called with
    /// the message's first bytes in [`Connection::transmit`], before the rest is masked. It may write them or not.
    ///
    /// # Errors
    /// [`SendError`]. When `write` calls [`Connection::write_failed`], the first bytes may have been sent.
    pub fn send_early(
        &mut self,
        message: MessageRef<'_>,
        write: impl FnOnce(&mut Self),
    ) -> Poll<Result<Sent, SendError>> {
        if let Err(error) = self.check_send(message) {
            return Poll::Ready(Err(error));
        }
        if self.output.len() >= OUTPUT_BOUND {
            return Poll::Pending;
        }
        debug_assert!(self.pong.is_none(), "a pong waits only while the output is full");
        let (length, is_data) = (message.len(), message.is_data());
        let bytes = message.payload();
        let mut payload = self.writer.begin(message.opcode(), &bytes, &mut self.output);
        if self.pacing.is_early(length) {
            payload.put(EARLY_PART, &mut self.output);
            self.pacing.release();
            write(self);
            // Writing may have failed; the beginning of the message was discarded then.
            if let Err(error) = self.check_send(message) {
                return Poll::Ready(Err(error));
            }
        }
        payload.put(usize::MAX, &mut self.output);
        self.stats.sent.add(message);
        Poll::Ready(Ok(self.pacing.sent(is_data, self.output.len())))
    }

    /// Confirms that a message was sent for which [`Connection::send`] returned [`Sent::Now`]. Call it once the output was
    /// written as far as the transport took it.
    ///
    /// # Errors
    /// [`SendError::Write`] when writing failed. The message does not count as sent then.
    pub fn confirm(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        match self.phase {
            Phase::ReadOnly { .. } => {
                self.stats.sent.remove(message);
                self.check_send(message)
            }
            _ => Ok(()),
        }
    }

    fn check_send(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        match &mut self.phase {
            _ if matches!(message, MessageRef::Close(_)) => Err(InvalidMessage::CloseFrame.into()),
            Phase::Open(_) | Phase::Grace { .. } => Ok(message.check_sendable(self.config.max_message_size)?),
            Phase::ReadOnly { error, is_reported: is_reported @ false, .. } => {
                *is_reported = true;
                Err(SendError::Write(Arc::clone(error)))
            }
            Phase::ReadOnly { .. } | Phase::CloseSent { .. } | Phase::Ending { .. } | Phase::Closed { .. } => {
                Err(SendError::Closed)
            }
        }
    }

    /// Lets the current batch be written, because the application waits or [`BATCH_DELAY`] is over. Afterwards, write.
    pub fn flush(&mut self) {
        self.pacing.flush();
    }

    /// The next message, in order; `Pending` while there is none, and [`Changes::callers`] says when to try again.
    ///
    /// # Errors
    /// After every message: how the connection failed, once; then [`ReceiveError::Closed`].
    pub fn receive(&mut self) -> Poll<Result<Message, ReceiveError>> {
        if let Some(message) = self.try_receive() {
            return Poll::Ready(Ok(message));
        }
        // The application has answered what came before.
        self.end_grace();
        match &mut self.phase {
            Phase::Ending { failure, .. } | Phase::Closed { failure } => {
                Poll::Ready(Err(failure.take().map_or(ReceiveError::Closed, ReceiveError::Failed)))
            }
            _ => Poll::Pending,
        }
    }

    /// The next unread message; `None` when there is none. Unlike [`Connection::receive`], it does not signal that the
    /// application has answered the messages before.
    pub fn try_receive(&mut self) -> Option<Message> {
        let message = self.inbox.pop()?;
        if self.is_paused && self.inbox.bytes() <= self.config.inbound_buffer / 2 {
            self.changes.driver = true;
        }
        Some(message)
    }

    /// Begins the closing handshake unless it has begun; `None` sends a close frame without a code. Afterwards, write.
    pub fn close(&mut self, info: Option<&CloseInfo>, now: Instant) {
        self.close_for(Initiator::Application, info, now);
    }

    /// Closes because nobody holds the connection any more. Received messages are dropped. Afterwards, write.
    pub fn abandon(&mut self, info: &CloseInfo, now: Instant) {
        self.is_abandoned = true;
        self.inbox.clear();
        self.changes.driver = true;
        match &self.phase {
            Phase::Grace { .. } => self.end_grace(),
            Phase::ReadOnly { .. } | Phase::CloseSent { write_error: Some(_), .. } => {
                self.closure.begin(Initiator::Drop);
                self.lose(Failure::Aborted);
            }
            _ => self.close_for(Initiator::Drop, Some(info), now),
        }
    }

    /// Ends the connection at once, without a closing handshake. The transport is to be reset.
    pub fn abort(&mut self) {
        self.discard_output();
        self.lose(Failure::Aborted);
    }

    fn close_for(&mut self, initiator: Initiator, info: Option<&CloseInfo>, now: Instant) {
        let close_by = now + self.config.close_timeout;
        let write_error = match &self.phase {
            Phase::Open(_) | Phase::Grace { .. } => None,
            Phase::ReadOnly { error, .. } => Some(Arc::clone(error)),
            Phase::CloseSent { .. } | Phase::Ending { .. } | Phase::Closed { .. } => return,
        };
        self.closure.begin(initiator);
        if write_error.is_none() {
            self.write_close(info);
        }
        if matches!(self.phase, Phase::Grace { .. }) {
            return self.end_grace();
        }
        self.phase = Phase::CloseSent { close_by, write_error };
        self.changes = Changes { callers: true, driver: true };
    }
}
