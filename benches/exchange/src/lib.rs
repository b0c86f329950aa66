//! The protocol of a contender: lines of JSON on its standard input and output. It reads a [`Job`], which it
//! prepares before it prints `ready`, and does when it reads `go`. It answers with a [`Sample`]. Guests
//! and native programs share this, so that they do the same.

// Only the benchmarks implement it, and they do not need its futures to be `Send`.
#![allow(async_fn_in_trait)]

mod jobs;
mod modes;

pub use jobs::{Job, Sample, Target, serve};
pub use modes::{Link, Mode, exchange};

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The result of a future that never waits, such as those of links whose calls block.
///
/// # Panics
/// When it waits.
#[allow(clippy::panic)]
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a link whose calls block has not blocked"),
    }
}
