//! The types of the WIT package as they travel over the lattice.

/// The functions are the client's half, which nobody calls here.
#[allow(dead_code, unreachable_pub, clippy::all)]
mod generated {
    wit_bindgen_wrpc::generate!({ path: "../../../wit", world: "imports" });
}

pub(crate) use generated::wasmcloud::websocket::{
    client::ClientConfig,
    types::{CloseInfo, ConnectionState, Message, WebsocketError},
};

use websocket_connection as native;

impl From<Message> for native::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => native::Message::Text(text),
            Message::Binary(data) => native::Message::Binary(data),
            Message::Ping(data) => native::Message::Ping(data),
            Message::Pong(data) => native::Message::Pong(data),
            Message::Close(info) => native::Message::Close(info.into()),
        }
    }
}
