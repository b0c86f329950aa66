//! The thread that writes batches whose sender does not wait: a guest may compute for a long time after its last send, and a
//! tokio worker keeps what it woke last to itself until its guest yields. It starts with the first batch.

use parking_lot::{Condvar, Mutex};
use std::{
    mem,
    sync::{Arc, LazyLock},
    thread,
};
use websocket_protocol::connection::BATCH_DELAY;

/// A connection with a batch to write.
pub(crate) trait Flush: Send + Sync {
    /// Writes the batch.
    fn flush(self: Arc<Self>);

    /// Writes the batch, unless another thread uses the connection right now; returns whether it did.
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
    connections: Vec<Arc<dyn Flush>>,
    /// The thread waits until it is woken.
    is_idle: bool,
}

/// Writes this connection's batch [`BATCH_DELAY`] from now, unless it was written before.
pub(crate) fn flush_soon(connection: Arc<dyn Flush>) {
    let Some(flusher) = &*FLUSHER else { return connection.flush() };
    let mut due = flusher.due.lock();
    due.connections.push(connection);
    if mem::take(&mut due.is_idle) {
        drop(due);
        flusher.woken.notify_one();
    }
}

impl Flusher {
    fn run(&self) {
        loop {
            let mut due = self.due.lock();
            while due.connections.is_empty() {
                due.is_idle = true;
                self.woken.wait(&mut due);
            }
            drop(due);
            thread::sleep(BATCH_DELAY);
            let mut connections = mem::take(&mut self.due.lock().connections);
            // A connection that is in use gets another try after the next delay.
            connections.retain(|connection| !Arc::clone(connection).try_flush());
            self.due.lock().connections.append(&mut connections);
        }
    }
}
