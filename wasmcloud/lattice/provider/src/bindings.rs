//! The types of the WIT package as they travel over the lattice, and what they are in the core.

/// The functions are the client's half, which nobody calls here.
#[allow(dead_code, unreachable_pub, clippy::all)]
mod generated {
    wit_bindgen_wrpc::generate!({ path: "../../../wit", world: "imports" });
}

pub(crate) use generated::wasmcloud::websocket::{
    client::ClientConfig,
    types::{ConnectionState, Message, WebsocketError},
};

use generated::wasmcloud::websocket::types::CloseInfo;
use std::time::Duration;
use websocket_connection as native;

impl From<native::Error> for WebsocketError {
    fn from(error: native::Error) -> Self {
        match error {
            native::Error::ConnectionFailed(why) => WebsocketError::ConnectionFailed(why),
            native::Error::InvalidUrl(why) => WebsocketError::InvalidUrl(why),
            native::Error::Protocol(why) => WebsocketError::ProtocolError(why),
            native::Error::ConnectionClosed => WebsocketError::ConnectionClosed,
            native::Error::AuthenticationFailed(why) => WebsocketError::AuthenticationFailed(why),
            native::Error::Timeout => WebsocketError::Timeout,
            native::Error::InvalidMessage(why) => WebsocketError::InvalidMessage(why),
            native::Error::Io(why) => WebsocketError::IoError(why),
            // The package has no other variant.
            other => WebsocketError::IoError(other.to_string()),
        }
    }
}

impl From<native::ConnectionState> for ConnectionState {
    fn from(state: native::ConnectionState) -> Self {
        match state {
            native::ConnectionState::Connecting => ConnectionState::Connecting,
            native::ConnectionState::Open => ConnectionState::Open,
            native::ConnectionState::Closing => ConnectionState::Closing,
            native::ConnectionState::Closed => ConnectionState::Closed,
        }
    }
}

impl From<Message> for native::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => native::Message::Text(text),
            Message::Binary(data) => native::Message::Binary(data),
            Message::Ping(data) => native::Message::Ping(data),
            Message::Pong(data) => native::Message::Pong(data),
            Message::Close(CloseInfo { code, reason }) => native::Message::Close(native::CloseInfo { code, reason }),
        }
    }
}

impl From<native::Message> for Message {
    fn from(message: native::Message) -> Self {
        match message {
            native::Message::Text(text) => Message::Text(text),
            native::Message::Binary(data) => Message::Binary(data),
            native::Message::Ping(data) => Message::Ping(data),
            native::Message::Pong(data) => Message::Pong(data),
            native::Message::Close(native::CloseInfo { code, reason }) => Message::Close(CloseInfo { code, reason }),
        }
    }
}

impl From<ClientConfig> for native::ConnectConfig {
    fn from(config: ClientConfig) -> Self {
        let millis = |millis: Option<u32>| millis.map(|millis| Duration::from_millis(millis.into()));
        native::ConnectConfig {
            url: config.url,
            subprotocols: config.subprotocols.unwrap_or_default(),
            headers: config.headers.unwrap_or_default().into_iter().map(|field| (field.name, field.value)).collect(),
            timeout: millis(config.timeout_ms),
            max_message_size: config.max_message_size.map(|size| size as usize),
            keepalive: config.enable_keepalive,
            keepalive_interval: millis(config.keepalive_interval_ms),
        }
    }
}
