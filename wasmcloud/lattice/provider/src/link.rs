//! One link: the endpoint that its component connects with, and its connections by their ids.

use crate::{config::LinkConfig, handle::Id};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};
use wasmcloud_websocket_guest::Guest;
use websocket_connection::{ConnectConfig, Connection, ConnectionState, Error, SettingError};

pub(crate) struct Link {
    pub(crate) config: LinkConfig,
    guest: Guest,
    held: Mutex<HashMap<Id, Held>>,
    /// Wakes the one that expires connections when there is the first.
    opened: Arc<Notify>,
    _expiry: AbortOnDropHandle<()>,
}

struct Held {
    connection: Arc<Connection>,
    used: Instant,
}

/// A call in progress: its connection does not expire.
pub(crate) struct Call {
    connection: Arc<Connection>,
    link: Arc<Link>,
    id: Id,
}

impl std::ops::Deref for Call {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(held) = self.link.held.lock().get_mut(&self.id) {
            held.used = Instant::now();
        }
    }
}

impl Link {
    /// # Errors
    /// [`SettingError`] for files that cannot be used.
    pub(crate) fn new(config: LinkConfig) -> Result<Arc<Self>, SettingError> {
        let guest = Guest::new(config.settings.clone())?;
        let opened = Arc::<Notify>::default();
        Ok(Arc::new_cyclic(|link| Link {
            config,
            guest,
            held: Mutex::default(),
            opened: Arc::clone(&opened),
            _expiry: AbortOnDropHandle::new(tokio::spawn(expire(Weak::clone(link), opened))),
        }))
    }

    pub(crate) async fn connect(&self, config: ConnectConfig) -> Result<Id, Error> {
        let connection = self.guest.connect(config).await?;
        let id = Id::random();
        let mut held = self.held.lock();
        // As many may be open as the endpoint grants. What is closed is kept for what it has still to say, but not
        // without bound: a component's drop is never told.
        while held.len() >= 2 * self.config.settings.max_connections {
            let closed = held.iter().filter(|(_, held)| held.connection.state() == ConnectionState::Closed);
            let Some(oldest) = closed.min_by_key(|(_, held)| held.used).map(|(id, _)| *id) else { break };
            held.remove(&oldest);
        }
        held.insert(id, Held { connection, used: Instant::now() });
        self.opened.notify_one();
        Ok(id)
    }

    /// A call of one of the connections; `None` for an id that none of them has.
    pub(crate) fn call(self: &Arc<Self>, id: Id) -> Option<Call> {
        let connection = Arc::clone(&self.held.lock().get(&id)?.connection);
        Some(Call { connection, link: Arc::clone(self), id })
    }

    /// Closes every connection with 1001, lets none open any more, and waits until they are gone: for the close
    /// timeout at most.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.guest.stop().await {
            error!(%error, "a connection cannot be closed");
        }
    }

    /// Drops what has been idle too long, which closes it, and says when to look again; `None` where there is no
    /// connection.
    fn expire(&self) -> Option<Instant> {
        let (now, idle) = (Instant::now(), self.config.idle_timeout);
        let mut held = self.held.lock();
        // More than one owner is a call in progress.
        let expired = held.extract_if(|_, held| now - held.used >= idle && Arc::strong_count(&held.connection) == 1);
        let expired: Vec<_> = expired.collect();
        let next = held.values().map(|held| if now - held.used >= idle { now + idle } else { held.used + idle }).min();
        // Closing takes locks of its own.
        drop(held);
        if !expired.is_empty() {
            debug!(connections = expired.len(), ?idle, "closed as idle");
        }
        next
    }
}

/// Expires a link's connections until the link's end ends it. There may be no link yet.
async fn expire(link: Weak<Link>, opened: Arc<Notify>) {
    loop {
        let next = link.upgrade().and_then(|link| link.expire());
        match next {
            Some(next) => sleep_until(next).await,
            None => opened.notified().await,
        }
    }
}
