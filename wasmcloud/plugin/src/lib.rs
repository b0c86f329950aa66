//! The WIT package `wasmcloud:websocket` (0.1.0-draft) as a plugin of wasmCloud's host, `wash-runtime`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use wash_runtime::{engine::Engine, host::HostBuilder};
//! use wasmcloud_websocket_plugin::{Settings, WebsocketPlugin};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut settings = Settings::default();
//! settings.set("allow", "*.example.com:443")?;
//! let plugin = Arc::new(WebsocketPlugin::new(settings)?);
//! let host = HostBuilder::new().with_engine(Engine::builder().build()?).with_plugin(plugin.clone())?.build()?;
//! for (workload, metrics) in plugin.metrics() {
//!     println!("{workload}: {:?}", metrics.snapshot().next());
//! }
//! # let _ = host;
//! # Ok(())
//! # }
//! ```

#[path = "../../../crates/provider/src/p2/bindings.rs"]
mod bindings;
mod config;
#[path = "../../../crates/provider/src/p2/conversions.rs"]
mod conversions;
#[path = "../../../crates/provider/src/p2/functions.rs"]
mod functions;
mod host;
#[path = "../../../crates/provider/src/p2/outgoing.rs"]
mod outgoing;
mod plugin;
#[path = "../../../crates/provider/src/p2/versions.rs"]
mod versions;

pub use plugin::{PLUGIN_ID, WebsocketPlugin};
pub use websocket_connection::{
    Concerns, METRICS, Metric, MetricKind, Metrics, Rule, SETTINGS, Sample, Setting, SettingError, Settings,
};

/// What a received message carries; the host's wasmtime lowers no `Bytes`.
type Payload = Vec<u8>;
