//! One connection as operators see it: its span, its events, and what it adds to its host's counters.
//! Every event of a connection is emitted here, so that what they show is decided in one place: no
//! path, no query, no header, no payload, no reason of a close frame.

use crate::{
    CloseInfo, Error, MessageRef,
    engine::{Role, Violation},
    failure::{Class, ConnectError},
    inbox::MAX_UNREAD_CONTROL,
    message::NO_STATUS,
    metrics::{Direction, Metrics},
};
use parking_lot::Mutex;
use std::{
    mem,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use tracing::Span;

/// The target of every event and span, by which logs are filtered.
const TARGET: &str = "websocket_connection";

/// The number of the process's last connection.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// How many warnings one guest may cause in [`WARNING_PERIOD`]: one that asks without end must not fill a disk.
const MAX_WARNINGS: u32 = 10;
const WARNING_PERIOD: Duration = Duration::from_secs(60);

/// The warnings that one guest has caused in the current period, and when that began.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Option<(Instant, u32)>>>);

impl Warnings {
    /// Counts one more; gives whether it may be logged as such.
    fn count(&self) -> bool {
        let now = Instant::now();
        let mut period = self.0.lock();
        let (began, count) = period.filter(|(began, _)| now - *began < WARNING_PERIOD).unwrap_or((now, 0));
        *period = Some((began, count.saturating_add(1)));
        count < MAX_WARNINGS
    }
}

/// A connection that is being opened; dropped, it was abandoned.
pub(crate) struct Attempt {
    span: Span,
    metrics: Metrics,
    warnings: Warnings,
    began: Instant,
    is_over: bool,
}

impl Attempt {
    /// `destination` is what is dialled: scheme, host and port.
    pub(crate) fn begin(metrics: &Metrics, warnings: &Warnings, role: Role, destination: Option<String>) -> Self {
        let id = LAST_ID.fetch_add(1, Relaxed) + 1;
        // At the level of the gravest event within: a filter that shows the one then shows the other.
        let span = tracing::warn_span!(target: TARGET, "connection", id, role = role.name(), destination);
        span.in_scope(|| tracing::debug!(target: TARGET, "opening"));
        let (metrics, warnings) = (metrics.clone(), warnings.clone());
        Attempt { span, metrics, warnings, began: Instant::now(), is_over: false }
    }

    /// `address` is that of the server or the proxy, where this end dialled.
    pub(crate) fn opened(mut self, subprotocol: Option<&str>, address: Option<SocketAddr>) -> Record {
        self.is_over = true;
        self.metrics.opened();
        self.log_opened(subprotocol, address);
        Record {
            span: mem::replace(&mut self.span, Span::none()),
            metrics: self.metrics.clone(),
            opened: Instant::now(),
            sent: Traffic::default(),
            received: Traffic::default(),
            dropped_control: false,
            initiator: None,
            outcome: None,
            code_sent: None,
            code_received: None,
        }
    }

    /// For TCP without a WebSocket, of which nothing more is told or counted.
    pub(crate) fn opened_tcp(mut self, address: Option<SocketAddr>) {
        self.is_over = true;
        self.log_opened(None, address);
    }

    fn log_opened(&self, subprotocol: Option<&str>, address: Option<SocketAddr>) {
        let address = address.map(tracing::field::display);
        let elapsed_ms = millis_since(self.began);
        self.span.in_scope(|| tracing::info!(target: TARGET, subprotocol, address, elapsed_ms, "opened"));
    }

    /// Logs and counts the failure, and gives it back.
    pub(crate) fn failed(mut self, failure: ConnectError) -> ConnectError {
        self.end(failure.reason().into(), failure.detail());
        failure
    }

    /// For a request that was not answered with an upgrade.
    pub(crate) fn declined(mut self) {
        self.end(Class::Refused, Some("the request was not answered with an upgrade"));
    }

    fn end(&mut self, class: Class, error: Option<&str>) {
        self.is_over = true;
        self.metrics.failed(class);
        // Whoever runs the host may want to change what it does not grant.
        let concerns_operator = matches!(class, Class::Denied | Class::Limit) && self.warnings.count();
        let (reason, elapsed_ms) = (Class::NAMES[class as usize], millis_since(self.began));
        self.span.in_scope(|| {
            if concerns_operator {
                tracing::warn!(target: TARGET, reason, error, elapsed_ms, "not opened");
            } else {
                tracing::info!(target: TARGET, reason, error, elapsed_ms, "not opened");
            }
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Class::Abandoned, None);
        }
    }
}

/// Who began to end a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Initiator {
    /// The guest called `close`.
    Guest,
    /// The guest, or its host, dropped the connection.
    Drop,
    /// The peer sent the first close frame.
    Peer,
    /// This end closed a connection whose peer is silent or broke the rules.
    Host,
}

impl Initiator {
    fn name(self) -> &'static str {
        match self {
            Initiator::Guest => "guest",
            Initiator::Drop => "drop",
            Initiator::Peer => "peer",
            Initiator::Host => "host",
        }
    }
}

/// How a connection that was open ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both ends sent a close frame.
    Clean,
    /// The transport failed, or ended without a close frame of the peer.
    Lost,
    /// The peer answered no keep-alive ping.
    KeepaliveTimeout,
    /// The peer answered no close frame.
    CloseTimeout,
    /// The peer broke the protocol.
    Violation,
    /// The peer sent a message over the limit.
    TooLarge,
    /// The runtime that drove the connection stopped.
    Stopped,
}

impl Outcome {
    /// The names, in the order of the variants.
    pub(crate) const NAMES: [&str; Outcome::Stopped as usize + 1] =
        ["clean", "lost", "keepalive_timeout", "close_timeout", "violation", "too_large", "stopped"];
}

/// What a connection that is or was open has done.
pub(crate) struct Record {
    span: Span,
    metrics: Metrics,
    opened: Instant,
    sent: Traffic,
    received: Traffic,
    /// A ping or pong was dropped.
    dropped_control: bool,
    initiator: Option<Initiator>,
    outcome: Option<Outcome>,
    code_sent: Option<u16>,
    code_received: Option<u16>,
}

impl Record {
    pub(crate) fn sent(&mut self, message: MessageRef<'_>) {
        self.sent.add(message);
    }

    pub(crate) fn received(&mut self, message: MessageRef<'_>) {
        self.received.add(message);
    }

    /// Adds to the host's counters what moved since the last time. Not done for each message: threads that
    /// share a counter wait for each other.
    pub(crate) fn publish(&mut self) {
        self.sent.publish(&self.metrics, Direction::Transmit);
        self.received.publish(&self.metrics, Direction::Receive);
    }

    pub(crate) fn answered_ping(&self) {
        self.metrics.answered_ping();
    }

    /// A ping or pong that the guest had not received was dropped for a newer one; logged once for each connection.
    pub(crate) fn dropped_control(&mut self) {
        self.metrics.dropped_control();
        if !mem::replace(&mut self.dropped_control, true) {
            let kept = MAX_UNREAD_CONTROL;
            self.span.in_scope(|| tracing::debug!(target: TARGET, kept, "unread control frames dropped"));
        }
    }

    pub(crate) fn pinged(&self) {
        self.span.in_scope(|| tracing::trace!(target: TARGET, "keep-alive ping"));
    }

    pub(crate) fn send_timed_out(&self) {
        self.metrics.send_timed_out();
        self.span.in_scope(|| tracing::info!(target: TARGET, "send timed out"));
    }

    pub(crate) fn violated(&self, violation: &Violation) {
        let error = violation.error.to_string();
        self.span.in_scope(|| tracing::info!(target: TARGET, code = violation.code, error, "violation"));
    }

    /// Says who begins to end the connection; the first one counts.
    pub(crate) fn begin_end(&mut self, initiator: Initiator) {
        self.initiator.get_or_insert(initiator);
    }

    /// Says how the connection ends; the first one counts.
    pub(crate) fn decide(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    pub(crate) fn close_sent(&mut self, info: Option<&CloseInfo>) {
        self.code_sent = Some(info.map_or(NO_STATUS, |info| info.code));
    }

    /// The close frame, where there was one, did not leave.
    pub(crate) fn close_unsent(&mut self) {
        self.code_sent = None;
    }

    pub(crate) fn close_received(&mut self, info: &CloseInfo) {
        self.code_received = Some(info.code);
    }

    /// The transport is gone: tells and counts everything, and ends the span.
    pub(crate) fn closed(&mut self, outcome: Outcome, error: Option<&Error>) {
        self.publish();
        let outcome = *self.outcome.get_or_insert(outcome);
        self.metrics.closed(outcome);
        self.span.in_scope(|| {
            tracing::info!(
                target: TARGET,
                outcome = Outcome::NAMES[outcome as usize],
                initiator = self.initiator.map(Initiator::name),
                code_sent = self.code_sent,
                code_received = self.code_received,
                messages_sent = self.sent.messages,
                bytes_sent = self.sent.bytes,
                messages_received = self.received.messages,
                bytes_received = self.received.bytes,
                duration_ms = millis_since(self.opened),
                error = error.map(ToString::to_string),
                "closed"
            )
        });
        self.span = Span::none();
    }
}

/// The text and binary messages that went one way.
#[derive(Default)]
struct Traffic {
    messages: u64,
    bytes: u64,
    /// What the host's counters know of.
    published: (u64, u64),
}

impl Traffic {
    fn add(&mut self, message: MessageRef<'_>) {
        if message.is_data() {
            self.messages += 1;
            self.bytes += message.len() as u64;
        }
    }

    fn publish(&mut self, metrics: &Metrics, direction: Direction) {
        let (messages, bytes) = self.published;
        if messages != self.messages {
            self.published = (self.messages, self.bytes);
            metrics.moved(direction, self.messages - messages, self.bytes - bytes);
        }
    }
}

fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
