//! What every contender is asked to do, in lines of JSON on its standard input and output: a [`Job`], which it
//! prepares until it says `ready`, and does when it is told `go`, and the [`Sample`] that it answers with. Guests
//! and native programs share this, so that they do the same.

// Only the measurements implement it, and they do not mind whether its futures are `Send`.
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

/// What a future gives that never waits, such as those of links whose calls block.
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
