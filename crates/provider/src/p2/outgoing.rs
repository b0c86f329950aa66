//! A message that a guest sends, whose payload stays in the guest's memory. The plugin for wasmCloud's hosts includes this
//! file.

use super::bindings::{CloseInfo, WebsocketError};
use std::{future::ready, sync::Arc};
use wasmtime::{
    AsContext,
    component::{ComponentType, Lift, WasmList, WasmStr},
};
use websocket_connection::{self as native, Connection, Error, MessageRef};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Outgoing {
    #[component(name = "text")]
    Text(WasmStr),
    #[component(name = "binary")]
    Binary(WasmList<u8>),
    #[component(name = "ping")]
    Ping(WasmList<u8>),
    #[component(name = "pong")]
    Pong(WasmList<u8>),
    #[component(name = "close")]
    Close(CloseInfo),
}

/// A call of a guest.
type Sending = Box<dyn Future<Output = wasmtime::Result<(Result<(), WebsocketError>,)>> + Send>;

impl Outgoing {
    /// Sends this. Most sends need not wait, and a future that does not is small.
    pub(super) fn send(self, connection: Arc<Connection>, store: &impl AsContext<Data: 'static>) -> Sending {
        match self.try_send(&connection, store) {
            Ok(Ok(None)) => Box::new(ready(Ok((Ok(()),)))),
            Ok(Ok(Some(message))) => {
                Box::new(async move { Ok((connection.send(&message).await.map_err(WebsocketError::from),)) })
            }
            Ok(Err(error)) => Box::new(ready(Ok((Err(error.into()),)))),
            Err(error) => Box::new(ready(Err(error))),
        }
    }

    /// Sends this, unless that would wait; then gives a copy, since the memory is the guest's again by the time that
    /// there is room. Fails if the guest's text is not UTF-8.
    fn try_send(
        self,
        connection: &Connection,
        store: &impl AsContext<Data: 'static>,
    ) -> wasmtime::Result<Result<Option<native::Message>, Error>> {
        let (text, close);
        let message = match self {
            Outgoing::Text(payload) => {
                text = payload.to_str(store)?;
                MessageRef::Text(&text)
            }
            Outgoing::Binary(payload) => MessageRef::Binary(payload.as_le_slice(store)),
            Outgoing::Ping(payload) => MessageRef::Ping(payload.as_le_slice(store)),
            Outgoing::Pong(payload) => MessageRef::Pong(payload.as_le_slice(store)),
            Outgoing::Close(info) => {
                close = info.into();
                MessageRef::Close(&close)
            }
        };
        Ok(connection.try_send(message).map(|sent| (!sent).then(|| message.into())))
    }
}
