//! One component of a workload: its endpoint, and its connections for as long as the workload runs.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Metrics, SettingError, Settings};

pub(crate) struct Guest {
    endpoint: Endpoint,
    stopped: CancellationToken,
    /// Stores own the connections; this finds them when the workload stops.
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Guest {
    pub(crate) fn new(settings: Settings) -> Result<Self, SettingError> {
        let endpoint = Endpoint::new(settings)?;
        Ok(Guest { endpoint, stopped: CancellationToken::new(), connections: Mutex::default() })
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.endpoint.metrics().clone()
    }

    pub(crate) async fn connect(&self, config: ConnectConfig) -> Result<Arc<Connection>, Error> {
        let stopping = || Error::ConnectionFailed("the workload is stopping".to_owned());
        let connected = self.stopped.run_until_cancelled(self.endpoint.connect(config)).await;
        let connection = Arc::new(connected.ok_or_else(stopping)??);
        let mut connections = self.connections.lock();
        // Under the lock, since `stop` looks only once.
        if self.stopped.is_cancelled() {
            return Err(stopping());
        }
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        Ok(connection)
    }

    /// Closes every connection with 1001, lets none open any more, and waits until they are gone: for the close
    /// timeout at most.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        let connections = {
            let mut connections = self.connections.lock();
            self.stopped.cancel();
            std::mem::take(&mut *connections)
        };
        for connection in connections.iter().filter_map(Weak::upgrade) {
            connection.close(Some(1001), None)?;
        }
        self.endpoint.closed().await;
        Ok(())
    }
}
