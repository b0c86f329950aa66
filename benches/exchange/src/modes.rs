//! The ways in which messages are exchanged.

use crate::{Sample, Target};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A way in which messages are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Sends a message when the answer to the last one has arrived.
    PingPong,
    /// A plain loop that sends one message for each one that it receives, with some in flight.
    Window,
    /// Sends many messages, then receives as many.
    Burst,
    /// Sends messages; the peer reports when it has all of them.
    Up,
    /// Receives messages.
    Down,
}

impl Mode {
    /// The path of the URL, which tells the peer the mode.
    pub fn path(self, size: usize, count: u64) -> String {
        match self {
            Mode::PingPong | Mode::Window | Mode::Burst => "/echo".to_owned(),
            Mode::Up => format!("/sink/{count}"),
            Mode::Down => format!("/source/{size}/{count}"),
        }
    }
}

/// How many messages are in flight: at most this many, and at most that many bytes.
const AHEAD: u64 = 64;
const BYTES_AHEAD: u64 = 1 << 20;

/// A connection whose messages are all of one size.
pub trait Link: Sized {
    /// Opens a connection for messages of `size` bytes.
    async fn connect(target: &Target, size: usize) -> Result<Self>;

    /// Sends one message, which may be buffered until [`Link::flush`].
    async fn send(&mut self) -> Result<()>;

    /// Flushes all sent messages.
    async fn flush(&mut self) -> Result<()>;

    /// Receives one message, and returns its size in bytes.
    async fn receive(&mut self) -> Result<usize>;

    /// Receives the report of the peer that it has all messages.
    async fn receive_receipt(&mut self, _count: u64) -> Result<()> {
        self.receive().await.map(drop)
    }

    /// Closes the connection; the peer's part of that may be awaited in the background.
    async fn close(self) -> Result<()>;
}

/// Exchanges `count` messages of `size` bytes.
///
/// # Errors
/// When the connection fails, or a message is not of that size.
pub async fn exchange<L: Link>(link: &mut L, mode: Mode, size: usize, count: u64) -> Result<Sample> {
    let ahead = (BYTES_AHEAD / size.max(1) as u64).clamp(2, AHEAD);
    let mut trips = Vec::new();
    let began = Instant::now();
    match mode {
        Mode::PingPong => {
            trips.reserve(usize::try_from(count)?);
            let mut sent = began;
            for _ in 0..count {
                link.send().await?;
                link.flush().await?;
                receive(link, size).await?;
                let received = Instant::now();
                trips.push((received - sent).as_nanos() as u64);
                sent = received;
            }
        }
        Mode::Window => {
            for _ in 0..ahead.min(count) {
                link.send().await?;
            }
            link.flush().await?;
            for received in 1..=count {
                receive(link, size).await?;
                if received + ahead <= count {
                    link.send().await?;
                    link.flush().await?;
                }
            }
        }
        Mode::Burst => {
            let mut left = count;
            while left > 0 {
                let burst = ahead.min(left);
                for _ in 0..burst {
                    link.send().await?;
                }
                link.flush().await?;
                for _ in 0..burst {
                    receive(link, size).await?;
                }
                left -= burst;
            }
        }
        Mode::Up => {
            for _ in 0..count {
                link.send().await?;
            }
            link.flush().await?;
            link.receive_receipt(count).await?;
        }
        Mode::Down => {
            link.send().await?;
            link.flush().await?;
            for _ in 0..count {
                receive(link, size).await?;
            }
        }
    }
    let nanos = began.elapsed().as_nanos() as u64;
    trips.sort_unstable();
    let percentile = |percent: usize| trips.get(trips.len() * percent / 100).copied();
    Ok(Sample { nanos, p50: percentile(50), p99: percentile(99) })
}

async fn receive<L: Link>(link: &mut L, size: usize) -> Result<()> {
    let received = link.receive().await.context("cannot receive")?;
    ensure!(received == size, "a message of {received} bytes came where one of {size} was due");
    Ok(())
}
