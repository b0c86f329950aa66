//! The functions of the WIT package: each finds its connection and calls it. The plugin for wasmCloud's hosts includes
//! this file, so that both link the same.

use super::{
    bindings::{ClientConfig, ConnectionState, Message, WebsocketError},
    outgoing::Outgoing,
    versions::VERSIONS,
};
use std::{future::ready, pin::Pin, sync::Arc};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceTable, ResourceType},
};
use websocket_connection::{ConnectConfig, Connection, Error};

/// What the store's table holds. A message is read out of the store's memory while its connection takes it.
pub(super) type Held = Arc<Connection>;

/// A connection that is being opened.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Held, Error>> + Send>>;

/// What the functions need of a host whose stores hold a `T`.
pub(super) trait Host<T>: Clone + Send + Sync + 'static {
    /// The table of a store's resources.
    fn table(data: &mut T) -> &mut ResourceTable;

    /// Opens a connection for the guest of a store.
    fn connect(&self, data: &mut T, config: ConnectConfig) -> Connecting;
}

/// Links every version of [`VERSIONS`].
pub(super) fn link<T: Send + 'static, H: Host<T>>(linker: &mut Linker<T>, host: &H) -> wasmtime::Result<()> {
    VERSIONS.iter().try_for_each(|version| link_version(linker, version, host.clone()))
}

fn link_version<T: Send + 'static, H: Host<T>>(linker: &mut Linker<T>, version: &str, host: H) -> wasmtime::Result<()> {
    linker.instance(&format!("wasmcloud:websocket/types@{version}"))?;
    let mut client = linker.instance(&format!("wasmcloud:websocket/client@{version}"))?;
    client.resource("connection", ResourceType::host::<Held>(), |mut store: StoreContextMut<'_, T>, rep| {
        H::table(store.data_mut()).delete(Resource::<Held>::new_own(rep))?;
        Ok(())
    })?;
    client.func_wrap_async("connect", move |mut store: StoreContextMut<'_, T>, (config,): (ClientConfig,)| {
        let connecting = host.connect(store.data_mut(), config.into());
        Box::new(async move {
            Ok((match connecting.await {
                Ok(connection) => Ok(H::table(store.data_mut()).push(connection)?),
                Err(error) => Err(WebsocketError::from(error)),
            },))
        })
    })?;
    client.func_wrap_async(
        "[method]connection.send",
        |mut store: StoreContextMut<'_, T>, (this, message): (Resource<Held>, Outgoing)| match H::table(
            store.data_mut(),
        )
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
            let connection = match H::table(store.data_mut()).get(&this) {
                Ok(connection) => connection,
                Err(error) => return Box::new(ready(Err(error.into()))),
            };
            if let Some(message) = connection.try_receive() {
                return Box::new(ready(Ok((Ok(Some(message.into())),))));
            }
            Box::new(async move {
                let connection = H::table(store.data_mut()).get(&this)?;
                let received = connection.receive().await;
                Ok((received.map(|message| message.map(Message::from)).map_err(WebsocketError::from),))
            })
        },
    )?;
    client.func_wrap(
        "[method]connection.close",
        |mut store: StoreContextMut<'_, T>, (this, code, reason): (Resource<Held>, Option<u16>, Option<String>)| {
            let connection = H::table(store.data_mut()).get(&this)?;
            Ok((connection.close(code, reason).map_err(WebsocketError::from),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-state",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = H::table(store.data_mut()).get(&this)?;
            Ok((ConnectionState::from(connection.state()),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-url",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = H::table(store.data_mut()).get(&this)?;
            Ok((connection.url().to_owned(),))
        },
    )?;
    client.func_wrap(
        "[method]connection.get-subprotocol",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<Held>,)| {
            let connection = H::table(store.data_mut()).get(&this)?;
            Ok((connection.subprotocol().map(str::to_owned),))
        },
    )?;
    Ok(())
}
