//! The types of the WIT package as types of the connection, and back. wasmCloud's plugin and its lattice provider
//! include this file: their bindings have the same names, for another wasmtime and for the lattice.

// One payload is `Bytes` on both sides of the conversion, and another is not.
#![allow(clippy::useless_conversion)]

use super::bindings::{ClientConfig, CloseInfo, ConnectionState, Message, WebsocketError};
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

impl From<CloseInfo> for native::CloseInfo {
    fn from(CloseInfo { code, reason }: CloseInfo) -> Self {
        native::CloseInfo { code, reason }
    }
}

impl From<native::Message> for Message {
    fn from(message: native::Message) -> Self {
        match message {
            native::Message::Text(text) => Message::Text(text),
            native::Message::Binary(data) => Message::Binary(data.into()),
            native::Message::Ping(data) => Message::Ping(data.into()),
            native::Message::Pong(data) => Message::Pong(data.into()),
            native::Message::Close(native::CloseInfo { code, reason }) => Message::Close(CloseInfo { code, reason }),
        }
    }
}

impl From<ClientConfig> for native::ConnectConfig {
    fn from(config: ClientConfig) -> Self {
        let millis = |millis: Option<u32>| millis.map(|millis| Duration::from_millis(millis.into()));
        let mut native = native::ConnectConfig::new(config.url);
        native.subprotocols = config.subprotocols.unwrap_or_default();
        native.headers =
            config.headers.unwrap_or_default().into_iter().map(|field| (field.name, field.value)).collect();
        native.timeout = millis(config.timeout_ms);
        native.max_message_size = config.max_message_size.map(|size| size as usize);
        native.keepalive = config.enable_keepalive;
        native.keepalive_interval = millis(config.keepalive_interval_ms);
        native
    }
}
