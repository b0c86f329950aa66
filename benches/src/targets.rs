//! The performance targets for guests, checked after each run.

use crate::{
    contenders::Contender::{
        self, Broadcast, Copies, CoreClients, CoreCompressed, CoreServer, Guest, InGuest, Instances, Native,
        NativeBursts, Sockudo,
    },
    report::{Report, Row, median},
};
use std::fmt;

/// One line of the list, with the result of a run.
pub(crate) struct Judged {
    what: String,
    wanted: String,
    reached: String,
    is_met: bool,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judged { what, wanted, reached, is_met } = self;
        write!(f, "| {what} | {wanted} | {reached} | {} |", if *is_met { "met" } else { "**missed**" })
    }
}

/// Speed relative to another contender, in the same case: at least this.
const SPEED: [(&str, Contender, Contender, f64); 13] = [
    ("ping-pong, 64 B", Guest, Native, 0.97),
    ("ping-pong, 1 KiB", Guest, Native, 0.97),
    ("ping-pong, 64 KiB", Guest, Native, 0.93),
    ("ping-pong, 1 MiB", Guest, Native, 0.93),
    ("plain loop, 64 B", Guest, Native, 2.5),
    ("plain loop, 64 B", Guest, InGuest, 1.3),
    ("bursts, 64 B", Guest, NativeBursts, 0.75),
    ("plain loop, 1 MiB", Guest, Native, 0.95),
    ("ping-pong, 64 B, 64 connections", Instances, Native, 0.95),
    ("ping-pong, 64 B, 256 connections", Instances, Native, 0.95),
    ("ping-pong, 64 B, wss", Guest, Native, 0.95),
    ("ping-pong, 64 KiB, wss", Guest, Native, 0.95),
    ("connect and close, one after the other", Guest, Native, 0.9),
];

/// Processor time relative to another contender: at most this.
const COST: [(&str, Contender, Contender, f64); 4] = [
    ("ping-pong, 64 B", Guest, Native, 1.1),
    ("ping-pong, 1 KiB", Guest, Native, 1.1),
    ("broadcast to 1000, 1 KiB", Broadcast, Copies, 1.0),
    ("broadcast to 1000, 1 KiB, compressed", Broadcast, Copies, 0.5),
];

/// Microseconds, at most.
const TIME: [(&str, Contender, f64); 1] = [("instantiate and call", Instances, 25.0)];

/// KiB of resident memory, at most.
const MEMORY: [(&str, Contender, f64); 2] =
    [("an idle connection", Guest, 8.0), ("an instance that waits in receive", Instances, 80.0)];

/// Idle connections, and their settings. The first has no compression.
pub(crate) const IDLE: [(&str, &str); 3] = [
    ("without compression", ""),
    ("with compression", "compress=true"),
    ("with context takeover", "compress=true,compress-takeover=true"),
];

/// Resident memory of an idle connection with compression, relative to one without: at most this.
const IDLE_MEMORY: f64 = 1.1;

/// With compression, the core is to be the fastest. sockudo-ws uses zlib-rs as well, which takes most of the time of large
/// messages: it may be this much ahead, which is less than rounds differ.
const TIE: f64 = 0.05;

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Judged {
    fn new(what: String, bound: Bound, reached: f64, unit: &str) -> Judged {
        let (wanted, is_met) = match bound {
            Bound::AtLeast(least) => (format!("≥ {least}{unit}"), reached >= least),
            Bound::AtMost(most) => (format!("≤ {most}{unit}"), reached <= most),
        };
        Judged { what, wanted, reached: format!("{reached:.2}{unit}"), is_met }
    }
}

/// Whether the speed or the cost of a case is on the list.
pub(crate) fn are_at_stake_in(case: &str) -> bool {
    SPEED.iter().chain(&COST).any(|(at, ..)| *at == case)
}

/// Compares a report with the list.
pub(crate) fn judge(report: &Report) -> Vec<Judged> {
    let row = |case: &str, who: Contender| -> Option<&Row> {
        report.websockets.iter().find(|row| row.case == case && row.contender == who)
    };
    // Cases that were not run have no rows.
    let both = |case, who, other| row(case, who).zip(row(case, other));
    let speeds = SPEED.iter().filter_map(|(case, who, other, least)| {
        let speed = both(case, *who, *other).and_then(|(this, other)| this.speed(other))?;
        Some(Judged::new(format!("{case}: speed relative to {}", other.name()), Bound::AtLeast(*least), speed, ""))
    });
    let costs = COST.iter().filter_map(|(case, who, other, most)| {
        let cost = both(case, *who, *other).and_then(|(this, other)| this.cost(other))?;
        Some(Judged::new(
            format!("{case}: processor time relative to {}", other.name()),
            Bound::AtMost(*most),
            cost,
            "",
        ))
    });
    let times = TIME.iter().filter_map(|(case, who, most)| {
        let micros = median(&row(case, *who)?.nanos)? / 1000.0;
        Some(Judged::new((*case).to_owned(), Bound::AtMost(*most), micros, " µs"))
    });
    let memory = MEMORY.iter().flat_map(|(case, who, most)| {
        let figures =
            report.figures.iter().filter(move |figure| figure.contender == *who && figure.case.starts_with(*case));
        figures.map(|figure| Judged::new(figure.case.clone(), Bound::AtMost(*most), figure.value / 1024.0, " KiB"))
    });
    let others = report.compressed.iter().filter(|row| row.contender != CoreCompressed);
    let compressed = others.filter_map(|other| {
        let mut rows = report.compressed.iter();
        let core = rows.find(|row| row.case == other.case && row.contender == CoreCompressed)?;
        let (who, margin) = (other.contender.name(), if other.contender == Sockudo { TIE } else { 0.0 });
        Some(if other.case.starts_with("one way down") {
            // The speed is that of the server, which compresses.
            let what = format!("{}: processor time of the core relative to {who}", other.case);
            Judged::new(what, Bound::AtMost(1.0 + margin), core.cost(other)?, "")
        } else {
            let what = format!("{}: speed of the core relative to {who}", other.case);
            Judged::new(what, Bound::AtLeast(1.0 - margin), core.speed(other)?, "")
        })
    });
    let [(without, _), (with, _), _] = IDLE;
    let idle = [CoreClients, CoreServer].into_iter().filter_map(|who| {
        let value = |name: &str| {
            let mut figures = report.figures.iter().filter(|figure| figure.contender == who);
            figures
                .find(|figure| figure.case.starts_with(&format!("an idle connection {name},")))
                .map(|figure| figure.value)
        };
        let what = format!("an idle connection {with}, {}: memory relative to one {without}", who.name());
        Some(Judged::new(what, Bound::AtMost(IDLE_MEMORY), value(with)? / value(without)?, ""))
    });
    speeds.chain(compressed).chain(costs).chain(times).chain(memory).chain(idle).collect()
}
