//! The pointer-payload ABI: a core module answers HTTP requests, and is called back for each event of the
//! WebSockets that it upgraded requests to.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod broadcast;
mod calls;
mod http;
mod instance;
mod memory;
mod module;
mod server;
mod sessions;
mod socket;
mod state;
mod stores;
mod types;
mod worker;

pub use module::{LoadError, Module, Shape};
pub use server::{Limits, Options, Server};
pub use stores::{EmbeddedStores, OpenError, StoreError, Stores};
/// The payloads that the host and its guests exchange.
pub use websocket_payload_abi as codec;
