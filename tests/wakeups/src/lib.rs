//! Runs the code of `websocket-connection` that waits and wakes under shuttle, which tries many schedules of its threads. A lost
//! wake-up leaves every thread waiting, which shuttle reports as a deadlock.
//!
//! The code is included as it is. Only what it stands on is replaced: locks are shuttle's, the driver is a queue, and the timer
//! elapses only where a test says so, so that no timeout hides a lost wake-up.

#![cfg(test)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod flusher;
mod model;
#[path = "../../../crates/connection/src/drive/shared.rs"]
mod shared;
mod sync;
mod tests;
mod timer;
#[path = "../../../crates/connection/src/drive/wakers.rs"]
mod wakers;
