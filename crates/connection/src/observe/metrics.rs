//! Counters of a host for its operators, declared once in [`METRICS`]: exporters and documentation are
//! made of it.

use crate::error::connect::Class;
use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use websocket_protocol::connection::Outcome;

/// The counters of one host: of an [`Endpoint`](crate::Endpoint) and those that were made of it for other
/// guests. Clones are the same counters, which outlive the endpoints.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    active: AtomicU64,
    opened: AtomicU64,
    failed: [AtomicU64; Class::NAMES.len()],
    closed: [AtomicU64; OUTCOMES.len()],
    messages: [AtomicU64; Direction::NAMES.len()],
    bytes: [AtomicU64; Direction::NAMES.len()],
    pings_answered: AtomicU64,
    control_dropped: AtomicU64,
    sends_timed_out: AtomicU64,
}

/// The names of [`Outcome`]s in logs and counters, and the place of each.
pub(crate) const OUTCOMES: [&str; 7] =
    ["clean", "lost", "keepalive_timeout", "close_timeout", "violation", "too_large", "stopped"];

/// The place of an outcome in [`OUTCOMES`].
pub(crate) fn outcome_index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Clean => 0,
        Outcome::KeepAliveTimeout => 2,
        Outcome::CloseTimeout => 3,
        Outcome::Violation => 4,
        Outcome::TooLarge => 5,
        Outcome::Aborted => 6,
        _ => 1,
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Transmit,
    Receive,
}

impl Direction {
    /// The names, in the order of the variants.
    const NAMES: [&str; Direction::Receive as usize + 1] = ["transmit", "receive"];
}

/// How a metric's value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    UpDownCounter,
}

/// One metric: its name, unit and attributes follow OpenTelemetry's conventions.
#[derive(Debug)]
pub struct Metric {
    /// The name: lower case, with dots.
    pub name: &'static str,
    /// The unit, in UCUM's notation: `By`, `{connection}`, …
    pub unit: &'static str,
    /// How its value moves.
    pub kind: MetricKind,
    /// What it counts, in one sentence.
    pub description: &'static str,
    /// The attribute that tells its values apart; `None` where there is one value.
    pub attribute: Option<&'static str>,
    /// Every value of the attribute; none where there is no attribute.
    pub attribute_values: &'static [&'static str],
    read: fn(&Counters) -> &[AtomicU64],
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "websocket.connections.active",
        unit: "{connection}",
        kind: MetricKind::UpDownCounter,
        description: "Connections that are open or closing now.",
        attribute: None,
        attribute_values: &[],
        read: |counters| slice::from_ref(&counters.active),
    },
    Metric {
        name: "websocket.connections.opened",
        unit: "{connection}",
        kind: MetricKind::Counter,
        description: "Connections whose opening handshake succeeded.",
        attribute: None,
        attribute_values: &[],
        read: |counters| slice::from_ref(&counters.opened),
    },
    Metric {
        name: "websocket.connections.failed",
        unit: "{connection}",
        kind: MetricKind::Counter,
        description: "Connections that did not open, by reason.",
        attribute: Some("error.type"),
        attribute_values: &Class::NAMES,
        read: |counters| &counters.failed,
    },
    Metric {
        name: "websocket.connections.closed",
        unit: "{connection}",
        kind: MetricKind::Counter,
        description: "Connections that opened and are gone, by how they ended.",
        attribute: Some("websocket.outcome"),
        attribute_values: &OUTCOMES,
        read: |counters| &counters.closed,
    },
    Metric {
        name: "websocket.messages",
        unit: "{message}",
        kind: MetricKind::Counter,
        description: "Text and binary messages whose send succeeded, and that arrived whole.",
        attribute: Some("network.io.direction"),
        attribute_values: &Direction::NAMES,
        read: |counters| &counters.messages,
    },
    Metric {
        name: "websocket.io",
        unit: "By",
        kind: MetricKind::Counter,
        description: "Payload of these messages.",
        attribute: Some("network.io.direction"),
        attribute_values: &Direction::NAMES,
        read: |counters| &counters.bytes,
    },
    Metric {
        name: "websocket.pings.answered",
        unit: "{ping}",
        kind: MetricKind::Counter,
        description: "Pings of peers that were answered with a pong.",
        attribute: None,
        attribute_values: &[],
        read: |counters| slice::from_ref(&counters.pings_answered),
    },
    Metric {
        name: "websocket.control_frames.dropped",
        unit: "{frame}",
        kind: MetricKind::Counter,
        description: "Pings and pongs that the guest had not received when newer ones took their place.",
        attribute: None,
        attribute_values: &[],
        read: |counters| slice::from_ref(&counters.control_dropped),
    },
    Metric {
        name: "websocket.sends.timed_out",
        unit: "{message}",
        kind: MetricKind::Counter,
        description: "Messages that were not sent because the peer did not read for the write timeout.",
        attribute: None,
        attribute_values: &[],
        read: |counters| slice::from_ref(&counters.sends_timed_out),
    },
];

/// The value of a metric, or of one of its attribute's values, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What was counted.
    pub metric: &'static Metric,
    /// The value of [`Metric::attribute`], where there is one.
    pub attribute_value: Option<&'static str>,
    /// The count, in the metric's unit.
    pub value: u64,
}

impl Metric {
    pub(crate) fn samples(&'static self, metrics: &Metrics) -> impl Iterator<Item = Sample> {
        let values = (self.read)(&metrics.0).iter().enumerate();
        values.map(move |(index, value)| Sample {
            metric: self,
            attribute_value: self.attribute_values.get(index).copied(),
            value: value.load(Relaxed),
        })
    }
}

impl Metrics {
    /// Every metric's values now, in the order of [`METRICS`]. Connections go on while they are read, so
    /// that two of them need not be of the same instant; each is exact.
    pub fn snapshot(&self) -> impl Iterator<Item = Sample> {
        METRICS.iter().flat_map(|metric| metric.samples(self))
    }

    pub(crate) fn opened(&self) {
        self.0.active.fetch_add(1, Relaxed);
        self.0.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self, class: Class) {
        self.0.failed[class as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, outcome: Outcome) {
        self.0.active.fetch_sub(1, Relaxed);
        self.0.closed[outcome_index(outcome)].fetch_add(1, Relaxed);
    }

    pub(crate) fn moved(&self, direction: Direction, messages: u64, bytes: u64) {
        self.0.messages[direction as usize].fetch_add(messages, Relaxed);
        self.0.bytes[direction as usize].fetch_add(bytes, Relaxed);
    }

    pub(crate) fn answered_pings(&self, pings: u64) {
        self.0.pings_answered.fetch_add(pings, Relaxed);
    }

    pub(crate) fn dropped_controls(&self, frames: u64) {
        self.0.control_dropped.fetch_add(frames, Relaxed);
    }

    pub(crate) fn send_timed_out(&self) {
        self.0.sends_timed_out.fetch_add(1, Relaxed);
    }
}
