//! The types of the WIT package. They are written by hand because generated ones copy a received message
//! once more, and because one set serves every version. The plugin for wasmCloud's hosts includes this file:
//! its older wasmtime has another [`Payload`].

use super::Payload;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum WebsocketError {
    #[component(name = "connection-failed")]
    ConnectionFailed(String),
    #[component(name = "invalid-url")]
    InvalidUrl(String),
    #[component(name = "protocol-error")]
    ProtocolError(String),
    #[component(name = "connection-closed")]
    ConnectionClosed,
    #[component(name = "authentication-failed")]
    AuthenticationFailed(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "invalid-message")]
    InvalidMessage(String),
    #[component(name = "io-error")]
    IoError(String),
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

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct CloseInfo {
    pub(super) code: u16,
    pub(super) reason: Option<String>,
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

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct WebsocketHeaders {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct ClientConfig {
    pub(super) url: String,
    pub(super) subprotocols: Option<Vec<String>>,
    pub(super) headers: Option<Vec<WebsocketHeaders>>,
    #[component(name = "timeout-ms")]
    pub(super) timeout_ms: Option<u32>,
    #[component(name = "max-message-size")]
    pub(super) max_message_size: Option<u32>,
    #[component(name = "enable-keepalive")]
    pub(super) enable_keepalive: Option<bool>,
    #[component(name = "keepalive-interval-ms")]
    pub(super) keepalive_interval_ms: Option<u32>,
}
