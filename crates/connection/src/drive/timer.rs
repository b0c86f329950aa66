//! The timers of connections.
//!
//! A timer of the runtime that a guest waits in makes the kernel set one at each wait, which costs a round trip a fiftieth of its
//! time. So the timers of all connections run on one thread of the process, unless the embedder brings others.

use std::{
    fmt,
    future::pending,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    thread,
    time::Instant,
};
use tokio::{
    runtime::{Builder, Handle},
    time::{Sleep, sleep_until},
};

/// Makes the timers of an endpoint's connections: see [`Endpoint::with_timers`](crate::Endpoint::with_timers).
pub trait Timers: fmt::Debug + Send + Sync + 'static {
    /// A new timer, which is not set.
    fn timer(&self) -> Pin<Box<dyn Timer>>;
}

/// One timer of one connection.
pub trait Timer: Send + 'static {
    /// Sets the timer. The deadline may have passed. A deadline that was set before no longer counts.
    fn reset(self: Pin<&mut Self>, deadline: Instant);

    /// Returns `Ready` once the deadline has passed, until the next [`Timer::reset`]; before, it stores the waker. It is
    /// polled only after it was set.
    fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

/// The timers of the process's own thread, `websocket timers`, which starts with the first connection. Where no thread can
/// be started, they are those of the runtime that drives the connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadTimers;

/// The timers of the tokio runtime that drives the connection. `tokio::time::pause` reaches them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeTimers;

/// The runtime of the timers' thread; `None` where there may be no thread.
static THREAD: LazyLock<Option<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build().ok()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("websocket timers".to_owned());
    thread.spawn(move || runtime.block_on(pending::<()>())).is_ok().then_some(handle)
});

impl Timers for ThreadTimers {
    fn timer(&self) -> Pin<Box<dyn Timer>> {
        // Fuzzers pause the time of their runtime.
        let thread = if cfg!(fuzzing) { None } else { THREAD.as_ref() };
        let _entered = thread.map(Handle::enter);
        RuntimeTimers.timer()
    }
}

impl Timers for RuntimeTimers {
    fn timer(&self) -> Pin<Box<dyn Timer>> {
        Box::pin(sleep_until(tokio::time::Instant::now()))
    }
}

impl Timer for Sleep {
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        Sleep::reset(self, deadline.into());
    }

    fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx)
    }
}
