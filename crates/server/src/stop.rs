//! How tasks wait for the request to stop.

use tokio::sync::watch;

/// Waits until `stop` is true, or its sender is gone. Cancel safe.
///
/// [`watch::Receiver::wait_for`] returns a guard, which locks the channel for as long as it lives. A task that holds the
/// guard while it asks the same channel again blocks forever if the channel is written meanwhile; this drops the guard.
pub async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
