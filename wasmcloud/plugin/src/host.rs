//! The functions of the WIT package: each finds its connection and calls it. They are linked by hand, so that
//! a component's linker holds the component's guest: a component that another one of its workload calls runs
//! in that one's store, whose context names the other.

use crate::{
    bindings::{ClientConfig, ConnectionState, Message, WebsocketError},
    outgoing::Outgoing,
};
use std::{future::ready, sync::Arc};
use wash_runtime::engine::ctx::Ctx;
use wasmcloud_websocket_guest::Guest;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use websocket_connection::Connection;

/// The versions of the package that guests may import. Their shape is one and the same.
pub(crate) const VERSIONS: [&str; 2] = ["0.1.0-draft", "0.1.1-draft"];

/// What the store's table holds; the guest has a weak one.
type Held = Arc<Connection>;

pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>, guest: &Arc<Guest>) -> wasmtime::Result<()> {
    VERSIONS.iter().try_for_each(|version| add_version(linker, version, Arc::clone(guest)))
}

fn add_version(linker: &mut Linker<Ctx>, version: &str, guest: Arc<Guest>) -> wasmtime::Result<()> {
    linker.instance(&format!("wasmcloud:websocket/types@{version}"))?;
    let mut client = linker.instance(&format!("wasmcloud:websocket/client@{version}"))?;
    client.resource("connection", ResourceType::host::<Held>(), |mut store: StoreContextMut<'_, Ctx>, rep| {
        store.data_mut().table.delete(Resource::<Held>::new_own(rep))?;
        Ok(())
    })?;
    client.func_wrap_async("connect", move |mut store: StoreContextMut<'_, Ctx>, (config,): (ClientConfig,)| {
        let guest = Arc::clone(&guest);
        Box::new(async move {
            Ok((match guest.connect(config.into()).await {
                Ok(connection) => Ok(store.data_mut().table.push(connection)?),
                Err(error) => Err(WebsocketError::from(error)),
            },))
        })
    })?;
    client.func_wrap_async(
        "[method]connection.send",
        |mut store: StoreContextMut<'_, Ctx>, (this, message): (Resource<Held>, Outgoing)| match store
            .data_mut()
            .table
            .get(&this)
            .cloned()
        {
            Ok(connection) => message.send(connection, &store),
            Err(error) => Box::new(ready(Err(error.into()))),
        },
    )?;
    client.func_wrap_async(
        "[method]connection.receive",
        |mut store: StoreContextMut<'_, Ctx>, (this,): (Resource<Held>,)| {
            Box::new(async move {
                let received = store.data_mut().table.get(&this)?.receive().await;
                Ok((received.map(|message| message.map(Message::from)).map_err(WebsocketError::from),))
            })
        },
    )?;
    client.func_wrap(
        "[method]connection.close",
        |mut store: StoreContextMut<'_, Ctx>, (this, code, reason): (Resource<Held>, Option<u16>, Option<String>)| {
            let connection = store.data_mut().table.get(&this)?;
            Ok((connection.close(code, reason).map_err(WebsocketError::from),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-state",
        |mut store: StoreContextMut<'_, Ctx>, (this,): (Resource<Held>,)| {
            Ok((ConnectionState::from(store.data_mut().table.get(&this)?.state()),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-url",
        |mut store: StoreContextMut<'_, Ctx>, (this,): (Resource<Held>,)| {
            Ok((store.data_mut().table.get(&this)?.url().to_owned(),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-subprotocol",
        |mut store: StoreContextMut<'_, Ctx>, (this,): (Resource<Held>,)| {
            Ok((store.data_mut().table.get(&this)?.subprotocol().map(str::to_owned),))
        },
    )?;
    Ok(())
}
