//! When connections' tasks wake by themselves. A timer of the runtime that a guest runs in would have the kernel set one
//! whenever that runtime waits, which costs a message there and back a fiftieth of its time; a thread that all connections
//! of the process share has theirs instead.

use std::{future::pending, sync::LazyLock, thread};
use tokio::{
    runtime::{Builder, Handle},
    time::{Instant, Sleep, sleep_until},
};

/// The runtime of that thread; `None` where there may be no thread.
static CLOCK: LazyLock<Option<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build().ok()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("websocket alarms".to_owned());
    thread.spawn(move || runtime.block_on(pending::<()>())).is_ok().then_some(handle)
});

/// An alarm that has yet to be set, for a task of whatever runtime. Fuzzers stop the time of theirs.
pub(crate) fn alarm() -> Sleep {
    let clock = if cfg!(fuzzing) { None } else { CLOCK.as_ref() };
    let _entered = clock.map(Handle::enter);
    sleep_until(Instant::now())
}
