//! A flusher thread for each batch.

use shuttle::thread;
use std::sync::Arc;

pub(crate) trait Flush: Send + Sync {
    fn flush(self: Arc<Self>);
    fn try_flush(self: Arc<Self>) -> bool;
}

pub(crate) fn flush_soon(connection: Arc<dyn Flush>) {
    thread::spawn(move || {
        // A connection that is in use gets another try, as with the real flusher; in the end this waits for the lock.
        if !Arc::clone(&connection).try_flush() {
            connection.flush();
        }
    });
}
