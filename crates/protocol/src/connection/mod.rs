//! The state of one open WebSocket, from the end of the opening handshake to the end of the transport.
//!
//! [`Connection`] is driven by its caller:
//!
//! - **Reading.** Call [`Connection::resume`]; then read into [`Connection::read_buffer`] and call
//!   [`Connection::received`] until the buffer is `None`, because reading is paused, or until the transport has nothing
//!   more, which [`Connection::read_blocked`] reports. When it is paused and [`Connection::wants_resume`], begin again soon.
//! - **Writing.** Write [`Connection::transmit`], then call [`Connection::transmitted`]; then flush the transport while
//!   [`Connection::wants_flush`], end this direction of it while [`Connection::wants_half_close`], and call
//!   [`Connection::linger`] while [`Connection::wants_linger`].
//! - **Time.** Call [`Connection::handle_timeout`] at [`Connection::poll_timeout`].
//! - **The application** calls [`Connection::send`], [`Connection::receive`] and [`Connection::close`]. It may also send
//!   and receive a message in pieces ([`Connection::send_piece`], [`Connection::receive_piece`]) or frame by frame
//!   ([`Connection::send_frame`], [`Connection::receive_frame`]). [`Connection::ping`] measures a round trip,
//!   [`Connection::poll_written`] waits for the transport to have everything, and [`Connection::closure`] tells the end.
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
//! | a violation arrives | Grace while data messages are unread, otherwise 1002, 1007 or 1009 and Ending | - | Closed | Ending | discarded | - |
//! | the peer ends its direction | Closed | Closed | Closed | Closed | Closed, once the output is written | - |
//! | reading fails | Closed | Closed | Closed | Closed | Closed | - |
//! | writing fails | ReadOnly | Closed | - | stays, failure noted | Closed | - |
//! | `send`, `send_piece`, `send_frame`, `ping` | sent | sent | the write error once, then `Closed` error | `Closed` error | `Closed` error | `Closed` error |
//! | `cancel_send` after a part was sent | 1011, CloseSent | 1011, Ending | - | - | - | - |
//! | `close` | CloseSent | sends the application's code, Ending | CloseSent | - | - | - |
//! | `abandon` | CloseSent | sends the violation's code, Ending | Closed | - | - | - |
//! | `receive`, `receive_stream`, `receive_piece` and `receive_frame` with nothing unread | waits | sends the violation's code, Ending | waits | waits | the failure once, then `Closed` error | the same |
//! | `poll_pong` without a pong | waits | waits | waits | waits | `Closed` error | `Closed` error |
//! | `poll_written` with everything written | ready | ready | the write error once, then `Closed` error | ready, or the write error | ready | `Closed` error |
//! | the timeout | a ping, later 1011 and Closed | sends the violation's code, Ending | Closed | Closed | Closed | - |
//! | `abort` | Closed | Closed | Closed | Closed | Closed | - |
//!
//! # Messages in pieces and frames
//!
//! With [`Config::streams`], the application decides about each message when it takes it: [`Connection::receive`] takes it
//! whole, [`Connection::receive_stream`] in pieces, and [`Connection::receive_frame`] frame by frame. They take what comes
//! next in one common order, and wait while another one is within a message. Until one of them asks for it, reading ahead of
//! a message pauses at [`STREAM_BUFFER`] bytes of fragments that have arrived, and at as many of the frame that is arriving.

mod calls;
mod inbox;
mod outcome;
mod pacing;
mod parts;
mod phase;
mod pings;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

pub use inbox::MAX_UNREAD_CONTROLS;
pub use outcome::{Closure, Failure, Initiator, Outcome, Stats, Traffic};
pub use pacing::{BATCH_DELAY, OUTPUT_BOUND, Sent};
pub use parts::{Piece, STREAM_BUFFER, STREAM_FRAGMENT};
pub use pings::PingId;

use crate::{
    InvalidMessage, RandomSource, Role, Violation,
    deflate::{Agreed, Compression, Parameters},
    message::{MessageReader, MessageWriter, ReadLimits},
};
use bytes::{Bytes, BytesMut};
use inbox::Inbox;
use pacing::Pacing;
use parts::{Outgoing, Taking};
use phase::{Liveness, Phase};
use pings::Pings;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long an application may answer the messages that came before a violation, before the close frame is sent.
pub const GRACE_PERIOD: Duration = Duration::from_millis(500);
/// How long a peer has to end the transport after the closing handshake.
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
    /// Whether the application may receive messages in pieces and frame by frame. Otherwise every message is assembled as it
    /// arrives.
    pub streams: bool,
    /// Bytes of one message that is sent or received in pieces.
    pub max_stream_size: u64,
    /// Bytes of one frame's payload on the wire, in both directions: compressed if the message is. Larger messages are sent in
    /// fragments. Control frames do not count.
    pub max_frame_size: usize,
    /// Bytes of one frame of a message that is sent. Larger messages are sent in fragments, and control frames may go
    /// between them.
    pub fragment_size: usize,
    /// Bytes of unread data messages at which reading pauses. One message may exceed it.
    pub inbound_buffer: usize,
    /// How long closing takes at most.
    pub close_timeout: Duration,
    /// The silence after which a ping is sent; `None` for no keep-alive.
    pub keep_alive: Option<Duration>,
}

impl Config {
    /// Messages up to 16 MiB, in frames of any size and sent as one frame each; 1 MiB of unread messages, a close timeout of
    /// 10 s, a keep-alive interval of 30 s, and no streams.
    pub fn new(role: Role) -> Self {
        Config {
            role,
            max_message_size: 16 << 20,
            streams: false,
            max_stream_size: u64::MAX,
            max_frame_size: usize::MAX,
            fragment_size: usize::MAX,
            inbound_buffer: 1 << 20,
            close_timeout: Duration::from_secs(10),
            keep_alive: Some(Duration::from_secs(30)),
        }
    }
}

impl Config {
    /// How much of a message is read ahead before it is decided how it is received.
    fn hold(&self) -> usize {
        self.inbound_buffer.clamp(1, STREAM_BUFFER)
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
    /// How the application takes the message at the front of the inbox.
    taking: Taking,
    /// The message that the application sends in parts.
    outgoing: Outgoing,
    /// The compression that was negotiated, until the connection is closed.
    compression: Option<Agreed>,
    /// The end of a fragmented message, while the output is full.
    queued: Bytes,
    /// The answer to the last ping, while the output is full (RFC 6455 section 5.5.3 lets it stand for earlier ones).
    pong: Option<Bytes>,
    /// The transport may still hold bytes that were written.
    unflushed: bool,
    /// A call waits in [`Connection::poll_written`].
    is_written_awaited: bool,
    /// The pings whose senders wait for their pongs.
    pings: Pings,
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
        let mut limits = ReadLimits::new(config.max_message_size);
        limits.max_frame_size = config.max_frame_size;
        limits.max_stream_size = config.max_stream_size;
        limits.hold = config.streams.then(|| config.hold());
        let mut writer = MessageWriter::new(config.role, random, config.fragment_size.min(config.max_frame_size));
        let mut tag = [0; 8];
        tag.as_chunks_mut().0.fill_with(|| writer.frames().random());
        Connection {
            config,
            phase: Phase::Open(Liveness { heard: now, pinged: None }),
            reader: MessageReader::new(config.role, limits),
            writer,
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_size: MIN_READ,
            received: 0,
            inbox: Inbox::default(),
            is_paused: false,
            controls: 0,
            taking: Taking::default(),
            outgoing: Outgoing::default(),
            compression: None,
            queued: Bytes::new(),
            pong: None,
            unflushed: false,
            is_written_awaited: false,
            pings: Pings::default(),
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

    /// The connection with the compression that its opening handshake negotiated. Call it before anything is sent or
    /// received. `max_message_size` and `max_stream_size` count inflated bytes, and `max_frame_size` the bytes of frames.
    pub fn with_compression(mut self, compression: Compression) -> Self {
        let (compressor, inflater, agreed) = compression.split();
        if let Some((compressor, min_size)) = compressor {
            self.writer.set_compressor(compressor, min_size);
        }
        self.reader.set_inflater(inflater);
        self.compression = Some(agreed);
        self
    }

    /// The parameters of the compression that was negotiated; `None` without it, and once the connection is closed.
    pub fn compression(&self) -> Option<Parameters> {
        self.compression.as_ref().map(|agreed| agreed.parameters)
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

    /// Bytes of memory that unread messages, the message being assembled, the buffers, and compression hold.
    pub fn buffered(&self) -> usize {
        self.inbox.bytes()
            + self.reader.reserved()
            + self.input.capacity()
            + self.output.capacity()
            + self.queued.len()
            + self.writer.reserved()
    }

    /// The next event; `None` when there is none. At most one of each kind occurs in a connection's life.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(violation) = self.violated.take() {
            return Some(Event::Violated(violation));
        }
        std::mem::take(&mut self.closed_event).then_some(Event::Closed)
    }

    /// Whether [`Connection::poll_event`] has an event.
    pub fn has_event(&self) -> bool {
        self.violated.is_some() || self.closed_event
    }

    /// Who has something to do because of the calls since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }
}
