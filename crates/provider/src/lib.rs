//! The WIT package `wasmcloud:websocket` (0.1.0-draft) for components, in any wasmtime host.
//!
//! A host keeps a [`WebsocketCtx`] in its store's data, returns it from [`WebsocketView`], and calls
//! [`p2::add_to_linker`]. The sockets live in the host: dropping the store closes them with 1001.
//!
//! ```no_run
//! use wasmtime::{
//!     Engine, Store,
//!     component::{Component, Linker, ResourceTable},
//! };
//! use websocket_provider::{WebsocketCtx, WebsocketCtxView, WebsocketView};
//!
//! struct Data {
//!     table: ResourceTable,
//!     websocket: WebsocketCtx,
//! }
//!
//! impl WebsocketView for Data {
//!     fn websocket(&mut self) -> WebsocketCtxView<'_> {
//!         WebsocketCtxView { ctx: &mut self.websocket, table: &mut self.table }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::default();
//! let mut linker: Linker<Data> = Linker::new(&engine);
//! websocket_provider::p2::add_to_linker(&mut linker)?;
//!
//! let websocket = WebsocketCtx::builder().set("allow", "*.example.com:443")?.set("receive-wait", "5s")?.build()?;
//! let mut store = Store::new(&engine, Data { table: ResourceTable::new(), websocket });
//!
//! let component = Component::from_file(&engine, "guest.wasm")?;
//! let instance = linker.instantiate_async(&mut store, &component).await?;
//! # let _ = instance;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod ctx;
pub mod p2;

pub use ctx::{WebsocketCtx, WebsocketCtxBuilder, WebsocketCtxView, WebsocketView};
pub use websocket_connection::{
    Concerns, Endpoint, METRICS, Metric, MetricKind, Metrics, Proxy, ProxyDns, Rule, SETTINGS, Sample, Setting,
    SettingError, Settings,
};
