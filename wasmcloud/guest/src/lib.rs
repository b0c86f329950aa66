//! One guest of a wasmCloud host: its endpoint, and its connections until it is stopped.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Metrics, SettingError, Settings};

/// What a component may open connections with, under settings and limits of its own.
#[derive(Debug)]
pub struct Guest {
    endpoint: Endpoint,
    stopped: CancellationToken,
    /// Others own the connections; this finds them when the guest is stopped.
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Guest {
    /// A guest without connections.
    ///
    /// # Errors
    /// [`SettingError`] for settings that contradict each other, or name files that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        let endpoint = Endpoint::new(settings)?;
        Ok(Guest { endpoint, stopped: CancellationToken::new(), connections: Mutex::default() })
    }

    /// The counters of its connections.
    pub fn metrics(&self) -> Metrics {
        self.endpoint.metrics().clone()
    }

    /// Opens a connection, as [`Endpoint::connect`] does.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`]; [`Error::ConnectionFailed`] for a guest that is stopped.
    pub async fn connect(&self, config: ConnectConfig) -> Result<Arc<Connection>, Error> {
        let stopping = || Error::ConnectionFailed("the component may open no connection any more".to_owned());
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
    ///
    /// # Errors
    /// None: the close code is one that may be sent.
    pub async fn stop(&self) -> Result<(), Error> {
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
