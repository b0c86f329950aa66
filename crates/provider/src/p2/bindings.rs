//! The types of the WIT package, and what they are in the core. They are written by hand because
//! generated ones copy a received message once more, and because one set serves every version. The
//! plugin for wasmCloud's hosts includes this file: its older wasmtime has another [`Payload`].

// It is `Bytes` on one side of the conversion here, and not in the plugin.
#![allow(clippy::useless_conversion)]

use super::Payload;
use std::time::Duration;
use wasmtime::component::{ComponentType, Lift, Lower};
use websocket_connection as native;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum WebsocketError {
    #[component(name = "connection-failed")]
    ConnectionFailed(String),
    #[component(name = "invalid-url")]
    InvalidUrl(String),
    #[component(name = "protocol-error")]
    Protocol(String),
    #[component(name = "connection-closed")]
    ConnectionClosed,
    #[component(name = "authentication-failed")]
    AuthenticationFailed(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "invalid-message")]
    InvalidMessage(String),
    #[component(name = "io-error")]
    Io(String),
}

impl From<native::Error> for WebsocketError {
    fn from(error: native::Error) -> Self {
        match error {
            native::Error::ConnectionFailed(why) => WebsocketError::ConnectionFailed(why),
            native::Error::InvalidUrl(why) => WebsocketError::InvalidUrl(why),
            native::Error::Protocol(why) => WebsocketError::Protocol(why),
            native::Error::ConnectionClosed => WebsocketError::ConnectionClosed,
            native::Error::AuthenticationFailed(why) => WebsocketError::AuthenticationFailed(why),
            native::Error::Timeout => WebsocketError::Timeout,
            native::Error::InvalidMessage(why) => WebsocketError::InvalidMessage(why),
            native::Error::Io(why) => WebsocketError::Io(why),
            // The package has no other variant.
            other => WebsocketError::Io(other.to_string()),
        }
    }
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum ConnectionState {
    #[component(name = "connecting")]
    Connecting,
    #[component(name = "open")]
    Open,
    #[component(name = "closing")]
    Closing,
    #[component(name = "closed")]
    Closed,
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

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct CloseInfo {
    code: u16,
    reason: Option<String>,
}

impl From<CloseInfo> for native::CloseInfo {
    fn from(CloseInfo { code, reason }: CloseInfo) -> Self {
        native::CloseInfo { code, reason }
    }
}

/// A message that a guest receives; one that it sends is [`Outgoing`](super::outgoing::Outgoing).
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum Message {
    #[component(name = "text")]
    Text(String),
    #[component(name = "binary")]
    Binary(Payload),
    #[component(name = "ping")]
    Ping(Payload),
    #[component(name = "pong")]
    Pong(Payload),
    #[component(name = "close")]
    Close(CloseInfo),
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

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct WebsocketHeaders {
    name: String,
    value: String,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct ClientConfig {
    url: String,
    subprotocols: Option<Vec<String>>,
    headers: Option<Vec<WebsocketHeaders>>,
    #[component(name = "timeout-ms")]
    timeout_ms: Option<u32>,
    #[component(name = "max-message-size")]
    max_message_size: Option<u32>,
    #[component(name = "enable-keepalive")]
    enable_keepalive: Option<bool>,
    #[component(name = "keepalive-interval-ms")]
    keepalive_interval_ms: Option<u32>,
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
