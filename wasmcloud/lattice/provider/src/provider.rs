//! What the host tells the provider: links come and go, is it well, shut down.

use crate::{
    config::LinkConfig,
    lattice::{Caller, Lattice},
    link::Link,
};
use anyhow::{Context, Result, ensure};
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::info;
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, LinkConfig as Received, LinkDeleteInfo, Provider,
};

/// The provider as the SDK drives it.
#[derive(Clone)]
pub(crate) struct WebsocketProvider {
    lattice: Arc<Lattice>,
}

impl WebsocketProvider {
    pub(crate) fn new(lattice: Arc<Lattice>) -> Self {
        WebsocketProvider { lattice }
    }

    /// Takes no new connection, closes all that there are with 1001, and answers the calls that it has.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.lattice.calls.leave();
        let stopping: JoinSet<_> = self.lattice.links().into_iter().map(stop).collect();
        stopping.join_all().await;
        self.lattice.calls.answered().await;
        // Once the host knows, it kills this process.
        self.lattice.nats.flush().await.context("the last answers cannot be sent")
    }

    fn link(&self, received: &Received<'_>) -> Result<Arc<Link>> {
        let (namespace, package, _) = received.wit_metadata;
        ensure!(
            (namespace.as_str(), package.as_str()) == ("wasmcloud", "websocket"),
            "this provider has wasmcloud:websocket, not {namespace}:{package}"
        );
        ensure!(received.secrets.is_empty(), "this provider takes no secrets");
        let config = LinkConfig::new(received.config, self.lattice.rpc_timeout)?;
        Ok(Link::new(config)?)
    }
}

async fn stop(link: Arc<Link>) {
    link.stop().await;
}

impl Provider for WebsocketProvider {
    async fn receive_link_config_as_target(&self, received: Received<'_>) -> Result<()> {
        let caller = Caller { component: received.source_id.to_owned(), link: received.link_name.to_owned() };
        let link = self.link(&received);
        // The host tells links again, and a link that is what it was keeps its connections.
        if let (Ok(link), Some(former)) = (&link, self.lattice.link(&caller))
            && link.config == former.config
        {
            return Ok(());
        }
        let (link, outcome) = match link {
            Ok(link) => (Some(link), Ok(())),
            Err(error) => (None, Err(error).with_context(|| format!("the link of {caller:?} cannot be used"))),
        };
        if let Some(former) = self.lattice.put(caller, link) {
            tokio::spawn(stop(former));
        }
        outcome
    }

    async fn delete_link_as_target(&self, deleted: impl LinkDeleteInfo) -> Result<()> {
        let caller = Caller { component: deleted.get_source_id().to_owned(), link: deleted.get_link_name().to_owned() };
        if let Some(link) = self.lattice.remove(&caller) {
            info!(component = caller.component, link = caller.link, "the link is gone, and its connections with it");
            // The host waits for other commands meanwhile.
            tokio::spawn(stop(link));
        }
        Ok(())
    }

    async fn health_request(&self, _: &HealthCheckRequest) -> Result<HealthCheckResponse> {
        let health = self.lattice.check_health();
        Ok(HealthCheckResponse { healthy: health.is_ok(), message: health.err().map(|error| error.to_string()) })
    }

    async fn shutdown(&self) -> Result<()> {
        self.stop().await
    }
}
