//! What a guest is to reach beside others, checked after each run.

use crate::{
    contenders::Contender::{self, Guest, InGuest, Instances, Native, NativeBursts},
    report::{Report, Row, median},
};
use std::fmt;

/// One line of the list, with what a run reached.
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

/// Speed beside another, in the same case: at least this.
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

/// Processor time beside another: at most this.
const COST: [(&str, Contender, Contender, f64); 2] =
    [("ping-pong, 64 B", Guest, Native, 1.1), ("ping-pong, 1 KiB", Guest, Native, 1.1)];

/// Microseconds, at most.
const TIME: [(&str, Contender, f64); 1] = [("instantiate and call", Instances, 25.0)];

/// KiB of resident memory, at most.
const MEMORY: [(&str, Contender, f64); 2] =
    [("an idle connection", Guest, 8.0), ("an instance that waits in receive", Instances, 80.0)];

/// Holds a report against the list.
pub(crate) fn judge(report: &Report) -> Vec<Judged> {
    let row = |case: &str, who: Contender| -> Option<&Row> {
        report.websockets.iter().find(|row| row.case == case && row.contender == who)
    };
    let mut judged = Vec::new();
    for (case, who, other, least) in SPEED {
        let Some(speed) = row(case, who).zip(row(case, other)).and_then(|(this, other)| this.speed(other)) else {
            continue;
        };
        judged.push(Judged {
            what: format!("{case}: speed beside {}", other.name()),
            wanted: format!("≥ {least:.2}"),
            reached: format!("{speed:.2}"),
            is_met: speed >= least,
        });
    }
    for (case, who, other, most) in COST {
        let Some(cost) = row(case, who).zip(row(case, other)).and_then(|(this, other)| this.cost(other)) else {
            continue;
        };
        judged.push(Judged {
            what: format!("{case}: processor time beside {}", other.name()),
            wanted: format!("≤ {most:.2}"),
            reached: format!("{cost:.2}"),
            is_met: cost <= most,
        });
    }
    for (case, who, most) in TIME {
        let Some(micros) = row(case, who).and_then(|row| median(&row.nanos)).map(|nanos| nanos / 1000.0) else {
            continue;
        };
        judged.push(Judged {
            what: case.to_owned(),
            wanted: format!("≤ {most} µs"),
            reached: format!("{micros:.1} µs"),
            is_met: micros <= most,
        });
    }
    for (case, who, most) in MEMORY {
        for figure in &report.figures {
            if figure.contender != who || !figure.case.starts_with(case) {
                continue;
            }
            let kib = figure.value / 1024.0;
            judged.push(Judged {
                what: figure.case.clone(),
                wanted: format!("≤ {most} KiB"),
                reached: format!("{kib:.1} KiB"),
                is_met: kib <= most,
            });
        }
    }
    judged
}
