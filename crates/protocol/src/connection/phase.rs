//! The phases of a connection, each with the data that it alone has.

use super::outcome::Failure;
use crate::Violation;
use std::{io, sync::Arc, time::Instant};

/// The life of a connection. It goes down this list and never back.
#[derive(Debug)]
pub(super) enum Phase {
    /// Both ends may send.
    Open(Liveness),
    /// The peer violated the protocol. Reading has stopped; the application may still answer the messages that came before.
    Grace {
        violation: Violation,
        /// When the peer is told at the latest.
        until: Instant,
        close_by: Instant,
    },
    /// Writing failed. Messages that the peer sent before are still received.
    ReadOnly {
        error: Arc<io::Error>,
        /// When nothing can be left of them; later whenever bytes arrive.
        until: Instant,
        /// A send has reported the error. Further sends fail because the connection is closing.
        is_reported: bool,
    },
    /// Our close frame was sent; the peer may send until its own.
    CloseSent {
        close_by: Instant,
        /// Why the close frame did not reach the peer, once that is known.
        write_error: Option<Arc<io::Error>>,
    },
    /// Nothing more is received. The output is written, and arriving bytes are discarded.
    Ending {
        close_by: Instant,
        half_close: HalfClose,
        /// The peer has ended its direction of the transport.
        input_ended: bool,
        /// Reported once, after the received messages.
        failure: Option<Failure>,
    },
    /// The transport is to be dropped.
    Closed {
        /// Reported once, after the received messages.
        failure: Option<Failure>,
    },
}

/// When something last arrived, and what was done since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Liveness {
    pub(super) heard: Instant,
    /// When the keep-alive ping was sent that nothing has followed.
    pub(super) pinged: Option<Instant>,
}

/// Who ends the transport first once the closing handshake is done: the server (RFC 6455 section 7.1.1), and an end that
/// fails the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HalfClose {
    /// The peer does. Its time for that begins once all output is written.
    Peer,
    /// The peer does, within its time.
    Awaited,
    /// This end does, once all output is written.
    Due,
    /// This end did.
    Done,
}

impl Phase {
    /// Whether messages are received in this phase.
    pub(super) fn receives(&self) -> bool {
        matches!(self, Phase::Open(_) | Phase::ReadOnly { .. } | Phase::CloseSent { .. })
    }
}
