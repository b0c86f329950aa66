//! The pointer-payload ABI: a module answers HTTP requests, and is called back for each event of the
//! WebSockets that it upgraded requests to.

pub mod codec;
#[cfg_attr(not(test), expect(dead_code))]
#[expect(unused_imports)]
mod http;
mod module;
#[cfg_attr(not(test), expect(dead_code))]
mod sessions;
mod stores;

pub use module::{LoadError, Module, Shape};
pub use stores::{EmbeddedStores, OpenError, StoreError, Stores};
