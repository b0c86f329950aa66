//! The functions of the WIT package: each finds its connection and calls it.

use super::{
    bindings::{ClientConfig, ConnectionState, Message, WebsocketError},
    outgoing::Outgoing,
};
use crate::WebsocketView;
use std::{future::ready, sync::Arc};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use websocket_connection::{Connection, Error};

/// The versions of the package that guests may import. Their shape is one and the same.
pub const VERSIONS: [&str; 2] = ["0.1.0-draft", "0.1.1-draft"];

/// What the store's table holds. A message is read out of the store's memory while its connection takes it.
type Held = Arc<Connection>;

/// Adds the interfaces `types` and `client` to a linker, in every version of [`VERSIONS`].
/// Instances must then be made with `instantiate_async`, in a tokio runtime.
///
/// # Errors
/// When the linker has one of them already.
pub fn add_to_linker<T: WebsocketView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    VERSIONS.iter().try_for_each(|version| add_version(linker, version))
}

fn add_version<T: WebsocketView + 'static>(linker: &mut Linker<T>, version: &str) -> wasmtime::Result<()> {
    linker.instance(&format!("wasmcloud:websocket/types@{version}"))?;
    let mut client = linker.instance(&format!("wasmcloud:websocket/client@{version}"))?;
    client.resource("connection", ResourceType::host::<Held>(), |mut store: StoreContextMut<'_, T>, rep| {
        store.data_mut().websocket().table.delete(Resource::<Held>::new_own(rep))?;
        Ok(())
    })?;
    client.func_wrap_async("connect", |mut store: StoreContextMut<'_, T>, (config,): (ClientConfig,)| {
        Box::new(async move {
            let view = store.data_mut().websocket();
            Ok((match view.ctx.endpoint().connect(config.into()).await {
                Ok(connection) => Ok(view.table.push(Arc::new(connection))?),
                Err(failure) => Err(WebsocketError::from(Error::from(failure))),
            },))
        })
    })?;
    client.func_wrap_async(
        "[method]connection.send",
        |mut store: StoreContextMut<'_, T>, (this, message): (Resource<Held>, Outgoing)| match store
            .data_mut()
            .websocket()
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
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = match store.data_mut().websocket().table.get(&this) {
                Ok(connection) => connection,
                Err(error) => return Box::new(ready(Err(error.into()))),
            };
            if let Some(message) = connection.try_receive() {
                return Box::new(ready(Ok((Ok(Some(message.into())),))));
            }
            Box::new(async move {
                let connection = store.data_mut().websocket().table.get(&this)?;
                let received = connection.receive().await;
                Ok((received.map(|message| message.map(Message::from)).map_err(WebsocketError::from),))
            })
        },
    )?;
    client.func_wrap(
        "[method]connection.close",
        |mut store: StoreContextMut<'_, T>, (this, code, reason): (Resource<Held>, Option<u16>, Option<String>)| {
            let connection = store.data_mut().websocket().table.get(&this)?;
            Ok((connection.close(code, reason).map_err(WebsocketError::from),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-state",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = store.data_mut().websocket().table.get(&this)?;
            Ok((ConnectionState::from(connection.state()),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-url",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = store.data_mut().websocket().table.get(&this)?;
            Ok((connection.url().to_owned(),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-subprotocol",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = store.data_mut().websocket().table.get(&this)?;
            Ok((connection.subprotocol().map(str::to_owned),))
        },
    )?;
    Ok(())
}
