//! The table.

use anyhow::{Context, Result};
use std::fmt::Write;

/// The nanoseconds that calls took.
#[derive(Default)]
pub(crate) struct Times {
    calls: Vec<u64>,
    echoes: Vec<u64>,
}

impl Times {
    /// Adds what a guest said: a line of numbers for each kind.
    pub(crate) fn add(&mut self, said: &str) -> Result<()> {
        let (calls, echoes) = said.trim().split_once('\n').with_context(|| format!("the guest says {said:?}"))?;
        for (times, line) in [(&mut self.calls, calls), (&mut self.echoes, echoes)] {
            for time in line.split_whitespace() {
                times.push(time.parse().with_context(|| format!("the guest says {said:?}"))?);
            }
        }
        Ok(())
    }
}

pub(crate) fn table(names: &[&str], times: &mut [Times]) -> String {
    let mut table =
        "| | a call, median | p99 | an echo of 64 B, median | p99 |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (name, Times { calls, echoes }) in names.iter().zip(times) {
        calls.sort_unstable();
        echoes.sort_unstable();
        let [call, call99] = [50, 99].map(|percent| millis(calls, percent));
        let [echo, echo99] = [50, 99].map(|percent| millis(echoes, percent));
        // A string takes all that is written to it.
        let _ = writeln!(table, "| {name} | {call} | {call99} | {echo} | {echo99} |");
    }
    table
}

/// A percentile of sorted times, with three digits that count.
fn millis(times: &[u64], percent: usize) -> String {
    let Some(time) = times.get((times.len() * percent).div_ceil(100).saturating_sub(1)) else {
        return "none".to_owned();
    };
    match *time {
        time if time < 100_000 => format!("{:.1} µs", time as f64 / 1e3),
        time if time < 1_000_000 => format!("{} µs", time / 1000),
        time => format!("{:.2} ms", time as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_table_has_the_percentiles_of_what_guests_say() {
        let mut times = Times::default();
        let said = |of: u64| (1..=100).map(|n| (n * of).to_string()).collect::<Vec<_>>().join(" ");
        times.add(&format!("{}\n{}\n", said(1000), said(100_000))).unwrap();
        let table = table(&["a host"], &mut [times]);
        assert_eq!(table.lines().last(), Some("| a host | 50.0 µs | 99.0 µs | 5.00 ms | 9.90 ms |"));
        assert!(Times::default().add("no numbers").is_err());
        assert!(Times::default().add("1 2\n3 four").is_err());
    }
}
