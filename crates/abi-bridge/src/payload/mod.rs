//! The pointer-payload ABI: a module answers HTTP requests, and is called back for each event of the
//! WebSockets that it upgraded requests to.

mod calls;
pub mod codec;
mod http;
mod instance;
mod memory;
mod module;
mod server;
mod sessions;
mod socket;
mod state;
mod stores;
mod worker;

pub use module::{LoadError, Module, Shape};
pub use server::{Limits, Options, Server};
pub use stores::{EmbeddedStores, OpenError, StoreError, Stores};
