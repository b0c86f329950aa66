//! The thread that sends what guests have left to leave together: theirs may be busy with them for long, and a worker
//! of tokio keeps what it woke last to itself until its guest gives way.

use parking_lot::{Condvar, Mutex};
use std::{
    mem,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

/// How long messages gather. A guest that waits for anything sends them itself, before.
const GATHER: Duration = Duration::from_micros(500);

/// Something with messages that have not left.
pub(crate) trait Flush: Send + Sync {
    /// Has them leave.
    fn flush(self: Arc<Self>);

    /// Has them leave, unless another uses the connection right now; says whether it did.
    fn try_flush(self: Arc<Self>) -> bool;
}

/// The process's one flusher; `None` where it may have no thread.
static FLUSHER: LazyLock<Option<Arc<Flusher>>> = LazyLock::new(|| {
    let flusher = Arc::new(Flusher::default());
    let run = Arc::clone(&flusher);
    let thread = thread::Builder::new().name("websocket flush".to_owned()).spawn(move || run.run());
    thread.is_ok().then_some(flusher)
});

#[derive(Default)]
struct Flusher {
    due: Mutex<Due>,
    woken: Condvar,
}

#[derive(Default)]
struct Due {
    these: Vec<Arc<dyn Flush>>,
    /// The thread sleeps until it is woken.
    sleeps: bool,
}

/// Has these messages leave soon.
pub(crate) fn flush_soon(this: Arc<dyn Flush>) {
    let Some(flusher) = &*FLUSHER else { return this.flush() };
    let mut due = flusher.due.lock();
    due.these.push(this);
    if mem::take(&mut due.sleeps) {
        drop(due);
        flusher.woken.notify_one();
    }
}

impl Flusher {
    fn run(&self) {
        loop {
            let mut due = self.due.lock();
            while due.these.is_empty() {
                due.sleeps = true;
                self.woken.wait(&mut due);
            }
            drop(due);
            thread::sleep(GATHER);
            let mut these = mem::take(&mut self.due.lock().these);
            // Whoever is sending now has its turn later.
            these.retain(|this| !Arc::clone(this).try_flush());
            self.due.lock().these.append(&mut these);
        }
    }
}
