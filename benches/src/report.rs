//! The results of a run, as tables and as JSON.

use crate::{contenders::Contender, process::Measured, targets};
use bench_exchange::Sample;
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// The cost of one case for one contender, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) contender: Contender,
    /// Nanoseconds for a message, or for another counted unit.
    pub(crate) nanos: Vec<f64>,
    /// Nanoseconds of processor time for the same.
    pub(crate) cpu: Vec<f64>,
    /// Percentiles of round trips, in nanoseconds, if each was timed.
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
    /// Bytes on the wire for a message, both ways together, if they were counted.
    pub(crate) wire: Vec<f64>,
}

/// A figure that is measured once.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) contender: Contender,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Bytes,
    /// Of one processor.
    Share,
}

/// All results of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether servers and contenders had a processor each.
    pub(crate) processors_apart: bool,
    pub(crate) rounds: usize,
    /// Over WebSockets, and of setting up.
    pub(crate) websockets: Vec<Row>,
    /// Of compressed text.
    pub(crate) compressed: Vec<Row>,
    /// Through relays and transports.
    pub(crate) transports: Vec<Row>,
    pub(crate) figures: Vec<Figure>,
}

impl Serialize for Contender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Row {
    pub(crate) fn new(case: String, contender: Contender) -> Row {
        Row { case, contender, nanos: Vec::new(), cpu: Vec::new(), p50: Vec::new(), p99: Vec::new(), wire: Vec::new() }
    }

    /// Adds a round with `count` units.
    pub(crate) fn add(&mut self, measured: &Measured, count: u64) {
        let Sample { nanos, p50, p99 } = measured.sample;
        self.nanos.push(nanos as f64 / count as f64);
        self.cpu.push(measured.cpu.as_nanos() as f64 / count as f64);
        self.p50.extend(p50.map(|nanos| nanos as f64));
        self.p99.extend(p99.map(|nanos| nanos as f64));
    }

    /// Its speed relative to another contender, round by round: 2 is twice as fast.
    pub(crate) fn speed(&self, other: &Row) -> Option<f64> {
        median(&ratios(&other.nanos, &self.nanos))
    }

    /// Its processor time relative to another contender.
    pub(crate) fn cost(&self, other: &Row) -> Option<f64> {
        median(&ratios(&self.cpu, &other.cpu))
    }
}

fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((sorted.get(sorted.len().checked_sub(1)? / 2)? + sorted.get(sorted.len() / 2)?) / 2.0)
}

/// Half of the difference between the slowest and the fastest round, as a fraction of the median.
fn spread(values: &[f64]) -> Option<f64> {
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    Some((most - least) / 2.0 / median(values)?)
}

impl Report {
    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        let apart = if self.processors_apart { "a processor each" } else { "the same processors" };
        let _ = writeln!(
            text,
            "{} rounds, three times as many in cases with a target; servers and contenders have {apart}.\n",
            self.rounds
        );
        table(&mut text, "WebSockets", &self.websockets, Contender::Native);
        table(&mut text, "Transports", &self.transports, Contender::Relay);
        compression(&mut text, &self.compressed);
        let _ = writeln!(text, "## Figures\n\n| what | who | |\n| --- | --- | ---: |");
        for Figure { case, contender, value, unit } in &self.figures {
            let value = match unit {
                Unit::Bytes => format!("{:.1} KiB", value / 1024.0),
                Unit::Share => format!("{:.2} %", value * 100.0),
            };
            let _ = writeln!(text, "| {case} | {} | {value} |", contender.name());
        }
        let _ = writeln!(text, "\n## Targets\n\n| what | target | reached | |\n| --- | ---: | ---: | --- |");
        for target in targets::judge(self) {
            let _ = writeln!(text, "{target}");
        }
        text
    }
}

fn table(text: &mut String, title: &str, rows: &[Row], baseline: Contender) {
    let _ = writeln!(
        text,
        "## {title}\n\n| case | who | per second | ± | × {} | × TCP | p50 | p99 | CPU each |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        baseline.name()
    );
    let mut case = "";
    for row in rows {
        let of = |who: Contender| rows.iter().find(|other| other.case == row.case && other.contender == who);
        let beside = |who: Contender| shown(of(who).and_then(|other| row.speed(other)), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            if row.case == case { "" } else { &row.case },
            row.contender.name(),
            shown(median(&row.nanos), |nanos| format!("{:.0}", 1e9 / nanos)),
            shown(spread(&row.nanos), |share| format!("{:.0} %", share * 100.0)),
            beside(baseline),
            beside(Contender::Tcp),
            shown(median(&row.p50), micros),
            shown(median(&row.p99), micros),
            shown(median(&row.cpu), micros),
        );
        case = &row.case;
    }
    let _ = writeln!(text);
}

fn compression(text: &mut String, rows: &[Row]) {
    let _ = writeln!(
        text,
        "## Compression\n\n| case | who | per second | ± | the core × this | CPU each | bytes on the wire each |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for row in rows {
        let core = rows.iter().find(|other| other.case == row.case && other.contender == Contender::CoreCompressed);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.case,
            row.contender.name(),
            shown(median(&row.nanos), |nanos| format!("{:.0}", 1e9 / nanos)),
            shown(spread(&row.nanos), |share| format!("{:.0} %", share * 100.0)),
            shown(core.and_then(|core| core.speed(row)), |ratio| format!("{ratio:.2}")),
            shown(median(&row.cpu), micros),
            shown(median(&row.wire), |bytes| format!("{bytes:.0}")),
        );
    }
    let _ = writeln!(text);
}

fn shown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(String::new, show)
}

fn micros(nanos: f64) -> String {
    format!("{:.2} µs", nanos / 1000.0)
}
