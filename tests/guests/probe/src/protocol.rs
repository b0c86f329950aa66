//! The protocol between a test and the probe: one line of JSON for each call and each result. Both ends include this file.

use serde::{Deserialize, Serialize};

/// One call that the probe makes; connections go by the number that [`Ask::Connect`] gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// `connect`.
    Connect(Config),
    /// `send`.
    Send(u32, Message),
    /// `receive`, once.
    Receive(u32),
    /// `close`.
    Close(u32, Option<u16>, Option<String>),
    /// `get-state`.
    State(u32),
    /// `get-url`.
    Url(u32),
    /// `get-subprotocol`.
    Subprotocol(u32),
    /// Drops the connection.
    Drop(u32),
    /// `send` for each of these, then so many milliseconds of computing, without another call in between.
    Burst(u32, Vec<Message>, u64),
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The number of a new connection.
    Connected(Result<u32, Failure>),
    /// Of `send` and `close`.
    Done(Result<(), Failure>),
    /// Of `receive`.
    Received(Result<Option<Message>, Failure>),
    /// Of `get-state`.
    State(State),
    /// Of `get-url` and `get-subprotocol`.
    Text(Option<String>),
}

/// The record `client-config`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// `url`.
    pub url: String,
    /// `subprotocols`.
    pub subprotocols: Option<Vec<String>>,
    /// `headers`, as names and values.
    pub headers: Option<Vec<(String, String)>>,
    /// `timeout-ms`.
    pub timeout_ms: Option<u32>,
    /// `max-message-size`.
    pub max_message_size: Option<u32>,
    /// `enable-keepalive`.
    pub enable_keepalive: Option<bool>,
    /// `keepalive-interval-ms`.
    pub keepalive_interval_ms: Option<u32>,
}

/// The variant `message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// `text`.
    Text(String),
    /// `binary`.
    Binary(Vec<u8>),
    /// `ping`.
    Ping(Vec<u8>),
    /// `pong`.
    Pong(Vec<u8>),
    /// `close`, with its code and reason.
    Close(u16, Option<String>),
}

/// The enum `connection-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// `connecting`.
    Connecting,
    /// `open`.
    Open,
    /// `closing`.
    Closing,
    /// `closed`.
    Closed,
}

/// The variant `websocket-error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// `connection-failed`.
    ConnectionFailed(String),
    /// `invalid-url`.
    InvalidUrl(String),
    /// `protocol-error`.
    ProtocolError(String),
    /// `connection-closed`.
    ConnectionClosed,
    /// `authentication-failed`.
    AuthenticationFailed(String),
    /// `timeout`.
    Timeout,
    /// `invalid-message`.
    InvalidMessage(String),
    /// `io-error`.
    IoError(String),
}
