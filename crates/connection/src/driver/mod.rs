//! The state of one open WebSocket, and everything that happens to it: reading ahead, answering
//! pings, keeping alive, closing. Nothing here waits; whoever drives it brings the waker.

#[cfg(test)]
mod tests;
mod transfer;

use crate::{
    CloseInfo, Error, Message, MessageRef,
    engine::{Decoder, Encoder, Role, Violation},
    inbox::Inbox,
    record::{Initiator, Outcome, Record},
    transport::{Transport, reset_when_dropped},
};
use bytes::{Bytes, BytesMut};
use std::{task::Context, time::Duration};
use tokio::time::Instant;

/// Bytes of output that may wait for the socket before `send` waits as well.
const OUTPUT_BOUND: usize = 64 * 1024;
/// Of messages that leave together, so many leave first, then as many again, then twice as many, and so on: the peer works
/// on the first while the guest makes the last.
const FIRST_PART: u32 = 16;
/// Of a message of [`OUTPUT_BOUND`] bytes or more, so many leave first, if the peer has nothing else to do: it wakes while
/// the rest is masked.
const FIRST_BYTES: usize = 16 * 1024;
/// How long a guest has to answer what came before the peer broke the rules.
const ANSWER_WAIT: Duration = Duration::from_millis(500);
/// How much is read at once from a peer that has little to say.
const LEAST_READ: usize = 4 * 1024;
/// How much is read at once from a peer that has much to say: a message of 64 KiB and its header.
const MOST_READ: usize = 64 * 1024 + 16;
/// What the size of a read is multiplied or divided by when it was too small or too large.
const READ_STEP: usize = 4;
/// How many pings and pongs one call of [`Driver::drive`] takes: they never fill the inbox, and others wait for the lock.
const CONTROL_BATCH: u32 = 512;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one assembled message, both ways.
    pub(crate) max_message_size: usize,
    /// Bytes received ahead of the guest.
    pub(crate) inbound_buffer: usize,
    /// How long `receive` waits.
    pub(crate) receive_wait: Duration,
    /// How long `send` waits.
    pub(crate) write_timeout: Duration,
    /// How long closing takes at the most.
    pub(crate) close_timeout: Duration,
    /// Silence after which a ping goes out; `None` for no keep-alive.
    pub(crate) keepalive: Option<Duration>,
}

/// The life of a connection; it goes down this list and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Both ends may send.
    Open,
    /// A write failed: nothing can be sent any more, and what the peer sent before is still received.
    ReadOnly,
    /// Our close frame is out, or would be if a write had not failed; the peer may still send until its own.
    CloseSent,
    /// Nothing more will be received; what is written leaves, and what arrives is discarded.
    Ending,
    /// The transport is gone.
    Closed,
}

pub(crate) struct Driver {
    /// `None` once closed.
    transport: Option<Box<dyn Transport>>,
    limits: Limits,
    phase: Phase,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes received but not decoded, and encoded but not sent.
    input: BytesMut,
    output: BytesMut,
    /// How much the next read asks for.
    read_size: usize,
    inbox: Inbox,
    /// Reading has stopped: data waits that the full inbox does not take, or the peer broke the rules.
    paused: bool,
    /// How many pings and pongs the current call of [`Driver::drive`] may still take.
    control_left: u32,
    /// How the peer broke the rules, and until when the guest may still answer what came before.
    held: Option<(Violation, Instant)>,
    /// What `receive` reports once, after the inbox.
    failure: Option<Error>,
    /// Why a write failed, for `receive` to report once it has what the peer sent before, and for one `send`.
    write_error: Option<Error>,
    send_error: Option<Error>,
    /// The answer to the last ping, while there is no room in the output (RFC 6455 section 5.5.3
    /// lets it stand for those before).
    pong: Option<Bytes>,
    /// Bytes were written that the transport may still hold.
    unflushed: bool,
    /// The socket takes nothing right now.
    blocked: bool,
    /// Sends since anyone last waited, and whether there were several before that.
    sends: u32,
    sends_bursts: bool,
    /// Text and binary messages sent, less those received since: how many the peer may still have to read.
    unanswered: u64,
    /// Someone was told to flush.
    flush_due: bool,
    /// Once all is written, TCP ends from here: the server does that first (RFC 6455 section 7.1.1),
    /// and so does whoever fails the connection.
    ends_first: bool,
    /// Our end of TCP is ended.
    ended: bool,
    /// Nobody holds the connection any more.
    abandoned: bool,
    /// When closing must be done.
    close_by: Option<Instant>,
    /// When something last arrived, and when the keep-alive's ping went out that nothing has followed.
    heard: Instant,
    pinged: Option<Instant>,
    /// The payload of the keep-alive's pings, by which its pongs are known.
    tag: [u8; 8],
    record: Record,
    /// Who must be woken after this turn.
    notices: Notices,
}

/// Whom a turn of the driver concerns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// Those who wait to send or receive.
    pub(crate) waiters: bool,
    /// The connection's task: a deadline moved, there is room to read, or output waits.
    pub(crate) task: bool,
    /// A thread that is free to [`Driver::flush`]; the caller's own may be busy with a guest for long.
    pub(crate) flush: bool,
}

impl Driver {
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        input: BytesMut,
        role: Role,
        limits: Limits,
        record: Record,
    ) -> Self {
        Driver {
            transport: Some(transport),
            limits,
            phase: Phase::Open,
            decoder: Decoder::new(role, limits.max_message_size),
            encoder: Encoder::new(role),
            input,
            output: BytesMut::new(),
            read_size: LEAST_READ,
            inbox: Inbox::default(),
            paused: false,
            control_left: CONTROL_BATCH,
            held: None,
            failure: None,
            write_error: None,
            send_error: None,
            pong: None,
            unflushed: false,
            blocked: false,
            sends: 0,
            sends_bursts: false,
            unanswered: 0,
            flush_due: false,
            ends_first: role == Role::Server,
            ended: false,
            abandoned: false,
            close_by: None,
            heard: Instant::now(),
            pinged: None,
            tag: rand::random(),
            record,
            notices: Notices::default(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether what the peer sends is still for the guest.
    fn is_receiving(&self) -> bool {
        self.phase < Phase::Ending
    }

    /// Whom this turn concerns; asked once at its end.
    pub(crate) fn take_notices(&mut self) -> Notices {
        std::mem::take(&mut self.notices)
    }

    /// Has the connection's task woken after this turn: someone waits for less long than it sleeps.
    pub(crate) fn wake_task(&mut self) {
        self.notices.task = true;
    }

    /// The next message of those that were read ahead.
    pub(crate) fn take_read(&mut self) -> Option<Message> {
        let message = self.inbox.pop()?;
        if self.paused && self.inbox.bytes() <= self.limits.inbound_buffer / 2 {
            self.notices.task = true;
        }
        Some(message)
    }

    /// What `receive` gives now; `None` when it has to wait.
    pub(crate) fn take_message(&mut self) -> Option<Result<Message, Error>> {
        if let Some(message) = self.take_read() {
            return Some(Ok(message));
        }
        if let Some((violation, _)) = self.held.take() {
            self.fail(violation);
        }
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        if self.is_receiving() { None } else { Some(Err(Error::ConnectionClosed)) }
    }

    /// Takes a message to send; `None` when the output is full and the sender has to wait.
    pub(crate) fn put_message(&mut self, message: MessageRef<'_>, cx: &mut Context<'_>) -> Option<Result<(), Error>> {
        if self.phase != Phase::Open {
            return Some(Err(self.send_error.take().unwrap_or(Error::ConnectionClosed)));
        }
        if self.output.len() >= OUTPUT_BOUND {
            return None;
        }
        self.sends += 1;
        // The first message after a wait leaves at once, unless the guest is one that sends several. Those that follow
        // leave together: when the guest next waits, a moment later by another thread, or when there are enough for a
        // write.
        let enough = self.output.len() + message.len() >= OUTPUT_BOUND
            || (self.sends >= FIRST_PART && self.sends.is_power_of_two());
        let mut frame = self.encoder.begin(message, &mut self.output);
        if self.unanswered == 0 && message.len() >= OUTPUT_BOUND {
            frame.put(FIRST_BYTES, &mut self.output);
            // No pong waits to get between: there was room for it.
            self.write(cx);
            if let Some(error) = self.send_error.take() {
                return Some(Err(error));
            }
        }
        frame.put(usize::MAX, &mut self.output);
        self.unanswered += u64::from(message.is_data());
        if enough || (self.sends == 1 && !self.sends_bursts) {
            self.write(cx);
            if let Some(error) = self.send_error.take() {
                return Some(Err(error));
            }
            self.record.sent(message);
            self.record.publish();
        } else {
            self.record.sent(message);
            if !self.flush_due {
                self.flush_due = true;
                self.notices.flush = true;
            }
        }
        Some(Ok(()))
    }

    /// Writes what sends have left to be written together.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        self.flush_due = false;
        self.end_burst();
        self.write(cx);
    }

    /// Those who send wait, or another sends for them.
    fn end_burst(&mut self) {
        if self.sends > 0 {
            self.sends_bursts = self.sends > 1;
            self.sends = 0;
        }
    }

    /// Begins the closing handshake, unless it has begun; `None` sends a close frame without a code.
    pub(crate) fn close(&mut self, info: Option<&CloseInfo>, cx: &mut Context<'_>) {
        self.close_for(Initiator::Guest, info, cx);
    }

    fn close_for(&mut self, initiator: Initiator, info: Option<&CloseInfo>, cx: &mut Context<'_>) {
        match self.phase {
            Phase::Open => {
                self.record.begin_end(initiator);
                self.put_close(info);
                self.enter(Phase::CloseSent);
                if let Some((violation, _)) = self.held.take() {
                    self.fail(violation);
                }
                self.write(cx);
            }
            // No close frame can be sent; the time limit of a close begins.
            Phase::ReadOnly => {
                self.record.begin_end(initiator);
                self.enter(Phase::CloseSent);
            }
            Phase::CloseSent | Phase::Ending | Phase::Closed => {}
        }
    }

    fn put_close(&mut self, info: Option<&CloseInfo>) {
        // Nothing may follow the close frame.
        self.put_pong();
        self.encoder.close(info, &mut self.output);
        self.record.close_sent(info);
    }

    /// Answers the ping whose answer has waited for room.
    fn put_pong(&mut self) {
        if let Some(pong) = self.pong.take() {
            self.encoder.message(MessageRef::Pong(&pong), &mut self.output);
            self.record.answered_ping();
        }
    }

    /// Closes because nobody holds the connection any more; what was received is dropped.
    pub(crate) fn abandon(&mut self, info: &CloseInfo, cx: &mut Context<'_>) {
        self.abandoned = true;
        self.inbox.clear();
        self.notices.task = true;
        if let Some((violation, _)) = self.held.take() {
            self.fail(violation);
        }
        self.close_for(Initiator::Drop, Some(info), cx);
        self.end_if_useless();
    }

    /// Ends a connection that can send nothing and whose messages nobody receives.
    fn end_if_useless(&mut self) {
        if self.abandoned && self.write_error.is_some() {
            self.lost("a write failed");
        }
    }

    /// A send has waited for the write timeout.
    pub(crate) fn send_timed_out(&self) {
        self.record.send_timed_out();
    }

    /// Ends because whatever drove this is gone.
    pub(crate) fn stop(&mut self) {
        let stopped = || Error::Io("the host's runtime has stopped".to_owned());
        let failure = self.is_receiving().then(|| self.write_error.take().unwrap_or_else(stopped));
        self.end(Outcome::Stopped, failure);
    }

    /// Does all the reading and writing that can be done now, and what time asks for. When it returns,
    /// `cx` is woken for whatever comes next, deadlines excepted.
    pub(crate) fn drive(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.end_burst();
        self.control_left = CONTROL_BATCH;
        loop {
            self.write(cx);
            self.read(now, cx);
            self.keep_time(now, cx);
            if self.blocked || !self.has_to_write() {
                break;
            }
        }
        self.record.publish();
    }

    fn has_to_write(&self) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Ending if self.ends_first && !self.ended => true,
            _ => !self.output.is_empty() || self.unflushed,
        }
    }

    /// When [`Driver::drive`] must be called again, whatever the socket does.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open if let Some((_, until)) = self.held => Some(until),
            Phase::Open | Phase::ReadOnly => self.silence_ends(),
            Phase::CloseSent | Phase::Ending => self.close_by,
            Phase::Closed => None,
        }
    }

    /// How long the peer may be silent: until the next ping, or until nothing can be left of what it
    /// sent before the transport failed.
    fn silence_ends(&self) -> Option<Instant> {
        match self.phase {
            Phase::ReadOnly => self.heard.checked_add(self.limits.close_timeout),
            _ => self.pinged.unwrap_or(self.heard).checked_add(self.limits.keepalive?),
        }
    }

    /// Notes a sign of life.
    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    fn keep_time(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.deadline().is_none_or(|due| now < due) {
            return;
        }
        if let Some((violation, _)) = self.held.take() {
            return self.fail(violation);
        }
        match self.phase {
            // The guest is slow, not the peer: what waits unread is a sign of life.
            Phase::Open | Phase::ReadOnly if self.paused => self.hear(now),
            Phase::ReadOnly => self.lost("the peer is silent"),
            Phase::Open if self.pinged.is_some() => {
                let info = CloseInfo { code: 1011, reason: Some("keep-alive timeout".to_owned()) };
                self.record.begin_end(Initiator::Host);
                self.put_close(Some(&info));
                self.write(cx);
                self.end(Outcome::KeepaliveTimeout, Some(Error::Timeout));
            }
            Phase::Open => {
                self.encoder.message(MessageRef::Ping(&self.tag), &mut self.output);
                self.pinged = Some(now);
                self.record.pinged();
            }
            Phase::CloseSent => {
                self.decode_rest();
                let (outcome, late) = match self.write_error.take() {
                    Some(error) => (Outcome::Lost, error),
                    None => (Outcome::CloseTimeout, Error::Timeout),
                };
                self.end(outcome, (self.phase == Phase::CloseSent).then_some(late));
            }
            Phase::Ending | Phase::Closed => self.finish(),
        }
    }

    /// Tells the peer how it broke the rules, and ends (RFC 6455 section 7.1.7).
    fn fail(&mut self, violation: Violation) {
        self.record.begin_end(Initiator::Host);
        self.record.decide(violation.outcome());
        if self.phase == Phase::Open {
            self.put_close(Some(&CloseInfo { code: violation.code, reason: None }));
        }
        self.failure = Some(violation.error);
        self.ends_first = true;
        self.enter(Phase::Ending);
    }

    fn lost(&mut self, how: &str) {
        if !self.is_receiving() {
            return self.finish();
        }
        let within = if self.decoder.is_within_message() { ", in the middle of a message" } else { "" };
        let error = Error::Io(format!("{how}{within}"));
        let error = self.write_error.take().unwrap_or(error);
        self.end(Outcome::Lost, Some(error));
    }

    /// Moves on in the closing handshake, which has one time limit for all its steps.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.close_by = self.close_by.or_else(|| Instant::now().checked_add(self.limits.close_timeout));
        self.notices = Notices { waiters: true, task: true, ..self.notices };
    }

    /// Ends what has only to end: how was decided before.
    fn finish(&mut self) {
        self.end(Outcome::Clean, None);
    }

    /// Tears the transport down; `outcome` is how, where that is not decided yet, and `failure` what
    /// `receive` reports after the inbox, where nothing is to be reported already.
    fn end(&mut self, outcome: Outcome, failure: Option<Error>) {
        let Some(transport) = self.transport.take() else { return };
        if self.blocked {
            reset_when_dropped(&*transport);
        }
        let failure = match self.held.take() {
            Some((violation, _)) => {
                self.record.decide(violation.outcome());
                Some(violation.error)
            }
            None => failure,
        };
        self.note_unsent();
        self.record.closed(outcome, failure.as_ref());
        self.failure = self.failure.take().or(failure);
        self.phase = Phase::Closed;
        self.notices = Notices { waiters: true, task: true, ..self.notices };
        self.clear();
    }

    /// Notes that bytes of the output never left. A close frame is the last of them.
    fn note_unsent(&mut self) {
        if !self.output.is_empty() || self.unflushed {
            self.record.close_unsent();
        }
    }

    /// Leaves what `receive` still reports, and nothing else. It names every field, so that a new one is decided on.
    fn clear(&mut self) {
        let Driver {
            transport: _,
            limits: _,
            phase: _,
            decoder,
            encoder: _,
            input,
            output,
            read_size: _,
            inbox: _,
            paused,
            control_left: _,
            held,
            failure: _,
            write_error,
            send_error,
            pong,
            unflushed,
            blocked,
            sends,
            sends_bursts,
            unanswered,
            flush_due,
            ends_first: _,
            ended,
            abandoned: _,
            close_by,
            heard: _,
            pinged,
            tag: _,
            record: _,
            notices: _,
        } = self;
        decoder.clear();
        (*input, *output) = Default::default();
        (*paused, *unflushed, *blocked, *flush_due, *sends_bursts) = Default::default();
        (*held, *write_error, *send_error, *pong, *close_by, *pinged) = Default::default();
        (*sends, *unanswered) = Default::default();
        *ended = true;
    }
}
