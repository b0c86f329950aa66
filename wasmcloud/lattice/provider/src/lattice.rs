//! This replica's place in the lattice: its NATS connection, its links, and the way to the other replicas.

use crate::{
    bindings::{ClientConfig, WebsocketError},
    calls::{Method, Params},
    handle::{Handle, Replica},
    link::Link,
    serve::Calls,
    versions::VERSIONS,
};
use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, HeaderMap, connection::State};
use bytes::Bytes;
use nkeys::KeyPair;
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tracing::warn;
use wasmcloud_provider_sdk::HostData;
use websocket_connection::Settings;
use wrpc_transport::InvokeExt;

/// The interface that components import, without its version.
pub(crate) const INTERFACE: &str = "wasmcloud:websocket/client";

/// The header fields by which a wasmCloud host says who calls.
const SOURCE: &str = "source-id";
const LINK: &str = "link-name";

/// What another replica may take for a call, over what the call itself may.
const FORWARDING: Duration = Duration::from_secs(5);

pub(crate) struct Lattice {
    pub(crate) nats: Client,
    /// The subjects of this provider begin with it.
    prefix: String,
    replica: Replica,
    pub(crate) rpc_timeout: Duration,
    /// `None` for a link whose configuration cannot be used.
    links: RwLock<HashMap<Caller, Option<Arc<Link>>>>,
    pub(crate) calls: Calls,
}

/// Who calls: a component, by one of its links.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) component: String,
    pub(crate) link: String,
}

/// Connects to the lattice of the host that started this process.
pub(crate) async fn join(host: &HostData) -> Result<Lattice> {
    let (jwt, seed) = (host.lattice_rpc_user_jwt.trim(), host.lattice_rpc_user_seed.trim());
    let options = if jwt.is_empty() || seed.is_empty() {
        ConnectOptions::new()
    } else {
        let key = Arc::new(KeyPair::from_seed(seed).context("the host's seed for NATS")?);
        ConnectOptions::with_jwt(jwt.to_owned(), move |nonce| {
            let key = Arc::clone(&key);
            async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
        })
    };
    let url = &host.lattice_rpc_url;
    let nats = options.name(crate::NAME).connect(url.as_str()).await;
    let nats = nats.with_context(|| format!("cannot connect to NATS at {url}"))?;
    Ok(Lattice {
        nats,
        prefix: format!("{}.{}", host.lattice_rpc_prefix, host.provider_key),
        replica: Replica::random(),
        rpc_timeout: Duration::from_millis(host.default_rpc_timeout_ms.unwrap_or(2000)),
        links: RwLock::default(),
        calls: Calls::default(),
    })
}

impl Caller {
    /// Who called, as the host says.
    pub(crate) fn of(headers: Option<&HeaderMap>) -> Option<Self> {
        let field = |name| headers?.get(name).map(ToString::to_string);
        let link = field(LINK).unwrap_or_else(|| "default".to_owned());
        Some(Caller { component: field(SOURCE)?, link })
    }

    fn headers(&self) -> HeaderMap {
        [(SOURCE, &self.component), (LINK, &self.link)].into_iter().fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.insert(name, value.as_str());
                headers
            },
        )
    }
}

impl Lattice {
    /// The subjects that all replicas share.
    pub(crate) fn shared_prefix(&self) -> &str {
        &self.prefix
    }

    /// The subjects of this replica alone.
    pub(crate) fn own_prefix(&self) -> String {
        self.prefix_of(self.replica)
    }

    fn prefix_of(&self, replica: Replica) -> String {
        format!("{}-{replica}", self.prefix)
    }

    pub(crate) fn check_health(&self) -> Result<()> {
        let state = self.nats.connection_state();
        ensure!(state == State::Connected, "the connection to NATS is {state}");
        Ok(())
    }

    /// Sets or, with `None` for the link, refuses a link. Gives the former one, which is to be stopped.
    pub(crate) fn put(&self, caller: Caller, link: Option<Arc<Link>>) -> Option<Arc<Link>> {
        self.links.write().insert(caller, link).flatten()
    }

    pub(crate) fn remove(&self, caller: &Caller) -> Option<Arc<Link>> {
        self.links.write().remove(caller).flatten()
    }

    pub(crate) fn link(&self, caller: &Caller) -> Option<Arc<Link>> {
        self.links.read().get(caller).cloned().flatten()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links.read().values().flatten().cloned().collect()
    }

    pub(crate) async fn connect(&self, caller: &Caller, config: ClientConfig) -> Result<Bytes, WebsocketError> {
        let link = self.links.read().get(caller).cloned();
        let why = match link {
            Some(Some(link)) => {
                let id = link.connect(config.into()).await?;
                return Ok(Handle { replica: self.replica, id }.to_bytes().into());
            }
            Some(None) => "the link's configuration cannot be used; the provider's log says why".to_owned(),
            None => format!("component {:?} has no link {:?} with this provider", caller.component, caller.link),
        };
        Err(WebsocketError::ConnectionFailed(why))
    }

    /// Calls a method of a connection, wherever it is. `forwarded` is a call that another replica passed on, and
    /// goes no further.
    pub(crate) async fn call<M: Method>(
        &self,
        caller: &Caller,
        forwarded: bool,
        (handle, args): Params<M>,
    ) -> M::Answer {
        let Some(Handle { replica, id }) = Handle::from_bytes(&handle) else { return M::closed() };
        let link = self.link(caller);
        if replica == self.replica {
            return match link.and_then(|link| link.call(id)) {
                Some(call) => M::call(&call, args).await,
                None => M::closed(),
            };
        }
        if forwarded {
            return M::closed();
        }
        // The other one checks whose it is. This one may not have heard of the link yet.
        let longest = link.map_or_else(|| M::longest(&Settings::default()), |link| M::longest(&link.config.settings));
        let answer = self.forward::<M>(caller, replica, (handle, args));
        let answer = tokio::time::timeout(longest + FORWARDING, answer).await.context("no answer in time");
        answer.and_then(|answer| answer).unwrap_or_else(|error| {
            warn!(%replica, method = M::NAME, error = format!("{error:#}"), "a replica and its connections are lost");
            M::closed()
        })
    }

    async fn forward<M: Method>(&self, caller: &Caller, replica: Replica, params: Params<M>) -> Result<M::Answer> {
        let client = wrpc_transport_nats::Client::new(self.nats.clone(), self.prefix_of(replica), None).await?;
        let (headers, instance) = (Some(caller.headers()), format!("{INTERFACE}@{}", VERSIONS[0]));
        let no_streams: [[Option<usize>; 0]; 0] = [];
        let (answer,) = client.invoke_values_blocking(headers, &instance, M::NAME, params, no_streams).await?;
        Ok(answer)
    }
}
