//! Calls the provider over NATS as a component's host does, without a component: so that handles can be forged.

use crate::Lattice;
use async_nats::HeaderMap;
use bytes::Bytes;
use std::time::Duration;
use test_peer::soon;
use wrpc_transport::{InvokeExt, ResourceBorrow};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    wit_bindgen_wrpc::generate!({ path: "../../../wit", world: "imports" });
}

pub use bindings::wasmcloud::websocket::{client, types};
use types::{ConnectionState, Message, WebsocketError};

/// The bytes that stand for a connection.
pub type Handle = Bytes;

/// A component by one of its links, as far as the provider can tell.
#[derive(Debug, Clone)]
pub struct Caller {
    nats: wrpc_transport_nats::Client,
    component: String,
    link: String,
}

impl Caller {
    /// Speaks to a provider as this component by this link.
    pub async fn new(lattice: &Lattice, provider: &str, component: &str, link: &str) -> Caller {
        let nats = wrpc_transport_nats::Client::new(lattice.nats.clone(), lattice.subject(provider), None);
        Caller { nats: nats.await.unwrap(), component: component.to_owned(), link: link.to_owned() }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("source-id", self.component.as_str());
        headers.insert("link-name", self.link.as_str());
        Some(headers)
    }

    /// `connect`, with nothing but a URL; `None` where no provider answers.
    pub async fn try_connect(&self, url: &str) -> Option<Result<Handle, WebsocketError>> {
        let connected = soon(client::connect(&self.nats, self.headers(), &config(url))).await.ok()?;
        Some(connected.map(Bytes::from))
    }

    /// `connect` of a version of the package, with nothing but a URL.
    pub async fn connect_by_version(&self, version: &str, url: &str) -> Result<Handle, WebsocketError> {
        let (instance, no_streams) = (format!("wasmcloud:websocket/client@{version}"), [[None::<usize>; 0]; 0]);
        let called = self.nats.invoke_values_blocking(self.headers(), &instance, "connect", (config(url),), no_streams);
        let (connected,) = soon(called).await.unwrap();
        connected
    }

    /// Why `connect` fails once a provider has the link.
    pub async fn refusal(&self, url: &str) -> String {
        soon(async {
            loop {
                match self.try_connect(url).await {
                    Some(Err(WebsocketError::ConnectionFailed(why))) if why.contains("has no link") => {}
                    Some(refused) => return format!("{:?}", refused.unwrap_err()),
                    None => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// `connect`, as soon as a provider has the link.
    pub async fn connect(&self, url: &str) -> Handle {
        soon(async {
            loop {
                match self.try_connect(url).await {
                    Some(Ok(handle)) => return handle,
                    Some(Err(WebsocketError::ConnectionFailed(why))) if why.contains("has no link") => {}
                    Some(Err(error)) => panic!("{error:?}"),
                    None => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// `connection.send`.
    pub async fn send(&self, handle: &Handle, message: Message) -> Result<(), WebsocketError> {
        let handle = ResourceBorrow::new(handle.clone());
        soon(client::Connection::send(&self.nats, self.headers(), &handle, &message)).await.unwrap()
    }

    /// `connection.receive`.
    pub async fn receive(&self, handle: &Handle) -> Result<Option<Message>, WebsocketError> {
        let handle = ResourceBorrow::new(handle.clone());
        soon(client::Connection::receive(&self.nats, self.headers(), &handle)).await.unwrap()
    }

    /// `connection.close`.
    pub async fn close(&self, handle: &Handle) -> Result<(), WebsocketError> {
        let handle = ResourceBorrow::new(handle.clone());
        soon(client::Connection::close(&self.nats, self.headers(), &handle, None, None)).await.unwrap()
    }

    /// `connection.get-state`, `get-url` and `get-subprotocol`.
    pub async fn describe(&self, handle: &Handle) -> (ConnectionState, String, Option<String>) {
        let handle = ResourceBorrow::new(handle.clone());
        let state = soon(client::Connection::get_state(&self.nats, self.headers(), &handle)).await.unwrap();
        let url = soon(client::Connection::get_url(&self.nats, self.headers(), &handle)).await.unwrap();
        let subprotocol = soon(client::Connection::get_subprotocol(&self.nats, self.headers(), &handle)).await.unwrap();
        (state, url, subprotocol)
    }
}

fn config(url: &str) -> client::ClientConfig {
    client::ClientConfig {
        url: url.to_owned(),
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    }
}
