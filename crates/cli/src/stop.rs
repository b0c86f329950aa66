//! When the program is asked to stop.

use std::io;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, and the signal with which service managers ask. While it exists, neither ends the program.
pub(crate) struct StopRequests {
    #[cfg(unix)]
    signals: [Signal; 2],
}

impl StopRequests {
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(StopRequests { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(StopRequests {})
    }

    /// Waits for the next request; cancel safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    /// Waits for the next request; cancel safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask, then.
            std::future::pending::<()>().await;
        }
    }
}

/// Has a limit on the size of files (`ulimit -f`) fail the write that meets it, as a full disk does: without this, the
/// signal that comes with it ends the program and every connection.
pub(crate) fn outlive_size_limits() -> io::Result<()> {
    /// SIGXFSZ.
    #[cfg(all(unix, not(any(target_arch = "mips", target_arch = "mips64"))))]
    const SIZE_LIMIT: i32 = 25;
    #[cfg(all(unix, any(target_arch = "mips", target_arch = "mips64")))]
    const SIZE_LIMIT: i32 = 31;
    // The handler stays when this goes.
    #[cfg(unix)]
    drop(signal(SignalKind::from_raw(SIZE_LIMIT))?);
    Ok(())
}
