//! How a connection ends, and what it did before.

use crate::{CloseInfo, MessageRef, Violation};
use std::{io, sync::Arc};

/// Why a connection ended other than by a closing handshake in order.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer violated the protocol, and was sent a close frame that says so.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The peer ended its direction of the transport without a close frame.
    #[error("the peer ended the connection without a close frame{}", within(*within_message))]
    Eof {
        /// A text or binary message had begun that did not end.
        within_message: bool,
    },
    /// Reading from the transport failed.
    #[error("{error}{}", within(*within_message))]
    Read {
        /// The transport's error.
        #[source]
        error: Arc<io::Error>,
        /// A text or binary message had begun that did not end.
        within_message: bool,
    },
    /// Writing to the transport failed.
    #[error("{0}")]
    Write(#[source] Arc<io::Error>),
    /// The peer sent nothing for an interval after a keep-alive ping.
    #[error("the peer did not answer a keep-alive ping")]
    KeepAlive,
    /// The peer did not complete the closing handshake in time.
    #[error("the peer did not answer the close frame in time")]
    CloseTimeout,
    /// The connection was ended at once, without a closing handshake.
    #[error("the connection was ended without a closing handshake")]
    Aborted,
}

fn within(message: bool) -> &'static str {
    if message { ", in the middle of a message" } else { "" }
}

impl Failure {
    /// The outcome of a connection that ends by this.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Failure::Violation(Violation::TooLarge { .. } | Violation::FrameTooLarge { .. }) => Outcome::TooLarge,
            Failure::Violation(_) => Outcome::Violation,
            Failure::Eof { .. } | Failure::Read { .. } | Failure::Write(_) => Outcome::Lost,
            Failure::KeepAlive => Outcome::KeepAliveTimeout,
            Failure::CloseTimeout => Outcome::CloseTimeout,
            Failure::Aborted => Outcome::Aborted,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Both ends sent a close frame.
    Clean,
    /// The transport failed, or ended without a close frame of the peer.
    Lost,
    /// The peer answered no keep-alive ping.
    KeepAliveTimeout,
    /// The peer answered no close frame.
    CloseTimeout,
    /// The peer violated the protocol.
    Violation,
    /// The peer sent a message or a frame over its size limit.
    TooLarge,
    /// The application ended the connection without a closing handshake.
    Aborted,
}

/// Who began to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The application called `close`.
    Application,
    /// The application dropped the connection.
    Drop,
    /// The peer sent the first close frame.
    Peer,
    /// The protocol closed a connection whose peer was silent or violated the protocol.
    Protocol,
}

/// How a connection ended, as far as it has.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// How; decided at the latest when the connection is closed.
    pub outcome: Option<Outcome>,
    /// Who began.
    pub initiator: Option<Initiator>,
    /// The close frame that this end sent; its code is 1005 where it carried none.
    pub sent: Option<CloseInfo>,
    /// The close frame that the peer sent.
    pub received: Option<CloseInfo>,
    /// What went wrong; `None` after a closing handshake in order. It stays when [`Connection::receive`] has reported it.
    ///
    /// [`Connection::receive`]: super::Connection::receive
    pub failure: Option<Failure>,
}

impl Closure {
    /// Notes who begins to end the connection; the first one counts.
    pub(super) fn begin(&mut self, initiator: Initiator) {
        self.initiator.get_or_insert(initiator);
    }

    /// Notes what went wrong, if something did; the first one counts.
    pub(super) fn fail(&mut self, failure: Option<&Failure>) {
        if self.failure.is_none() {
            self.failure = failure.cloned();
        }
    }

    /// Notes how the connection ends; the first one counts.
    pub(super) fn decide(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }
}

/// What a connection has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Text and binary messages that were sent.
    pub sent: Traffic,
    /// Text and binary messages that arrived whole.
    pub received: Traffic,
    /// Pings of the peer that were answered.
    pub pings_answered: u64,
    /// Keep-alive pings that were sent.
    pub keep_alive_pings: u64,
    /// Received pings and pongs that were dropped because newer ones came before they were read.
    pub controls_dropped: u64,
}

/// Messages in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, message: MessageRef<'_>) {
        if message.is_data() {
            self.messages += 1;
            self.bytes += message.len() as u64;
        }
    }

    pub(super) fn remove(&mut self, message: MessageRef<'_>) {
        if message.is_data() {
            self.messages -= 1;
            self.bytes -= message.len() as u64;
        }
    }
}
