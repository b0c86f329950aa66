//! One connection as operators see it: its span, its events, and what it adds to its host's counters.
//! Every event of a connection is emitted here, so that what they show is decided in one place: no
//! path, no query, no header, no payload, no reason of a close frame.

use crate::{
    Error,
    error::connect::{Class, ConnectError},
    observe::metrics::{Direction, Metrics, OUTCOMES, outcome_index},
};
use parking_lot::Mutex;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use tracing::Span;
use websocket_protocol::{
    Role, Violation,
    connection::{Closure, Initiator, MAX_UNREAD_CONTROLS, Outcome, Stats},
};

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

    /// The server sent the client to another destination, which is dialled next.
    pub(crate) fn redirected(&self, destination: &str) {
        self.span.in_scope(|| tracing::info!(target: TARGET, destination, "redirected"));
    }

    /// `address` is that of the server or the proxy, where this end dialled.
    pub(crate) fn opened(mut self, subprotocol: Option<&str>, address: Option<SocketAddr>) -> Record {
        self.is_over = true;
        self.metrics.opened();
        self.log_opened(subprotocol, address);
        Record {
            span: std::mem::replace(&mut self.span, Span::none()),
            metrics: self.metrics.clone(),
            opened: Instant::now(),
            published: Stats::default(),
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
    #[cfg(feature = "server")]
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

/// The name of an [`Initiator`] in logs.
fn initiator_name(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Application => "guest",
        Initiator::Drop => "drop",
        Initiator::Peer => "peer",
        Initiator::Protocol => "host",
    }
}

/// A connection that is or was open.
pub(crate) struct Record {
    span: Span,
    metrics: Metrics,
    opened: Instant,
    /// What the host's counters and the log know of.
    published: Stats,
}

impl Record {
    /// Adds to the host's counters what moved since the last time. Not done for each message: threads that share a counter
    /// wait for each other.
    pub(crate) fn publish(&mut self, stats: &Stats) {
        let published = std::mem::replace(&mut self.published, *stats);
        for (direction, now, before) in [
            (Direction::Transmit, stats.sent, published.sent),
            (Direction::Receive, stats.received, published.received),
        ] {
            if now.messages != before.messages {
                self.metrics.moved(direction, now.messages - before.messages, now.bytes - before.bytes);
            }
        }
        if stats.pings_answered != published.pings_answered {
            self.metrics.answered_pings(stats.pings_answered - published.pings_answered);
        }
        if stats.controls_dropped != published.controls_dropped {
            self.metrics.dropped_controls(stats.controls_dropped - published.controls_dropped);
            if published.controls_dropped == 0 {
                let kept = MAX_UNREAD_CONTROLS;
                self.span.in_scope(|| tracing::debug!(target: TARGET, kept, "unread control frames dropped"));
            }
        }
        if stats.keep_alive_pings != published.keep_alive_pings {
            self.span.in_scope(|| tracing::trace!(target: TARGET, "keep-alive ping"));
        }
    }

    pub(crate) fn send_timed_out(&self) {
        self.metrics.send_timed_out();
        self.span.in_scope(|| tracing::info!(target: TARGET, "send timed out"));
    }

    pub(crate) fn violated(&self, violation: &Violation) {
        let (code, error) = (violation.close_code(), Error::from(violation.clone()).to_string());
        self.span.in_scope(|| tracing::info!(target: TARGET, code, error, "violation"));
    }

    /// The transport is gone: logs and counts everything, and ends the span.
    pub(crate) fn closed(&mut self, closure: &Closure, stats: &Stats, error: Option<&Error>) {
        self.publish(stats);
        let outcome = closure.outcome.unwrap_or(Outcome::Lost);
        self.metrics.closed(outcome);
        self.span.in_scope(|| {
            tracing::info!(
                target: TARGET,
                outcome = OUTCOMES[outcome_index(outcome)],
                initiator = closure.initiator.map(initiator_name),
                code_sent = closure.sent.as_ref().map(|info| info.code),
                code_received = closure.received.as_ref().map(|info| info.code),
                messages_sent = stats.sent.messages,
                bytes_sent = stats.sent.bytes,
                messages_received = stats.received.messages,
                bytes_received = stats.received.bytes,
                duration_ms = millis_since(self.opened),
                error = error.map(ToString::to_string),
                "closed"
            )
        });
        self.span = Span::none();
    }
}

fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
