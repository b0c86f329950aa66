//! WATM v0: transports, modules that turn a caller's byte stream into one of the network and back. The host dials and
//! accepts on their behalf; the network may be TCP or a WebSocket.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod descriptors;
mod errno;
mod host;
mod life;
mod module;
mod poll;
mod preview1;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod types;
mod websocket;

pub use life::{Dialer, End, Limits, Listener, Options, Relay, RoleError, RunError, Running};
pub use module::{LoadError, Module, Roles};
pub use stream::Transport;
pub use websocket::WebSocketTransport;
