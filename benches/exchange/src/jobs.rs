//! The lines that a contender and the benchmark exchange.

use crate::Mode;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, Lines, StdinLock, Write},
    path::PathBuf,
};

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `ws://…`, `wss://…`, or `tcp://…` for a link without WebSockets.
    pub url: String,
    /// The PEM file of the authority to trust, for `wss`.
    pub authority: Option<PathBuf>,
}

/// A job for a contender.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Exchange messages on concurrent connections.
    Exchange {
        /// Where to.
        target: Target,
        /// In which way.
        mode: Mode,
        /// Bytes of each message.
        size: usize,
        /// Messages on each connection.
        count: u64,
        /// How many connections.
        connections: usize,
    },
    /// Open and close one connection after the other.
    Connect {
        /// Where to.
        target: Target,
        /// Bytes of the one message that each has echoed; none if 0.
        size: usize,
        /// How many, one after the other.
        count: u64,
    },
    /// Hold connections open, idle, from `ready` to `go`.
    Hold {
        /// Where to.
        target: Target,
        /// Bytes of the one message that each has echoed before; none if 0.
        size: usize,
        /// How many connections.
        connections: usize,
    },
    /// Have a server send messages to all connections, each when all have received the last one.
    Broadcast {
        /// Where to.
        target: Target,
        /// Bytes of each message.
        size: usize,
        /// How many messages.
        count: u64,
        /// How many connections receive each.
        connections: usize,
        /// Whether each copy of a message differs from the others.
        differ: bool,
    },
    /// Start and end an instance.
    Start {
        /// How often, one after the other.
        count: u64,
    },
}

/// The time that a job took, from `go`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The whole of it, in nanoseconds.
    pub nanos: u64,
    /// The median of the round trips, in nanoseconds, if each was timed.
    pub p50: Option<u64>,
    /// Their 99th percentile.
    pub p99: Option<u64>,
}

/// Does jobs until there are no more. `work` calls its second argument when it is ready, and continues when that call
/// returns.
///
/// # Errors
/// When a line cannot be read, or a job fails.
pub fn serve(mut work: impl FnMut(Job, &mut dyn FnMut() -> Result<()>) -> Result<Sample>) -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    while let Some(line) = lines.next() {
        let job: Job = serde_json::from_str(&line?).context("a line is not a valid job")?;
        let sample = work(job, &mut || start(&mut lines))?;
        say(&serde_json::to_string(&sample)?)?;
    }
    Ok(())
}

fn start(lines: &mut Lines<StdinLock<'_>>) -> Result<()> {
    say("ready")?;
    lines.next().context("the job was taken back")??;
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot answer")
}
