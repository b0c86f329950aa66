//! The signals that ask the program to stop: one outcome for all of them, and for every command.

#[cfg(not(unix))]
use std::future::pending;
#[cfg(unix)]
use std::{future::poll_fn, task::Poll};
use std::{io, pin::pin};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What a shell adds to the number of the signal that ended a program.
const SHELL_OFFSET: i32 = 128;

/// Ctrl-C (SIGINT), SIGTERM of service managers, and SIGHUP of a terminal that closes. While it exists, none of them
/// ends the program.
pub(crate) struct StopRequests {
    #[cfg(unix)]
    signals: Vec<(Signal, i32)>,
}

impl StopRequests {
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| *kind != SignalKind::hangup() || !ignores_hangup());
        let signals = heard.map(|kind| Ok((signal(kind)?, kind.as_raw_value()))).collect::<io::Result<_>>()?;
        Ok(StopRequests { signals })
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(StopRequests {})
    }

    /// Waits for the next request; gives the exit code of a program that it cuts off. Cancel safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> i32 {
        let next = poll_fn(|cx| {
            let mut heard = self
                .signals
                .iter_mut()
                .filter_map(|(signal, number)| signal.poll_recv(cx).is_ready().then_some(*number));
            heard.next().map_or(Poll::Pending, Poll::Ready)
        });
        SHELL_OFFSET + next.await
    }

    /// Waits for the next request; gives the exit code of a program that it cuts off. Cancel safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> i32 {
        const INTERRUPT: i32 = 2;
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask, then.
            pending::<()>().await;
        }
        SHELL_OFFSET + INTERRUPT
    }

    /// Serves until that fails or a signal comes. `serving` then ends, since `end` is true, and closes what it has open; a
    /// second signal does not wait for that. Gives the exit code.
    pub(crate) async fn serve(
        mut self,
        end: &watch::Sender<bool>,
        serving: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<i32> {
        let mut serving = pin!(serving);
        tokio::select! {
            served = &mut serving => return served.map(|()| 0),
            _ = self.next() => {}
        }
        end.send_replace(true);
        tokio::select! {
            served = serving => served.map(|()| 0),
            code = self.next() => Ok(code),
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

/// Whether the program was started to outlive its terminal, as `nohup` does it.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let hangup = 1 << (SignalKind::hangup().as_raw_value() - 1);
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & hangup != 0)
}
