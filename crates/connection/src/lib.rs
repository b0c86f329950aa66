//! One WebSocket, no Wasm in sight: dial, accept, drive, keep alive, close, with limits and a policy.
//!
//! An [`Endpoint`] opens [`Connection`]s for one guest under a host's [`Settings`]; guest ABIs translate
//! their calls to a connection's and nothing else.
//!
//! ```
//! use websocket_connection::{ConnectConfig, Endpoint, Error, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut settings = Settings::default();
//! settings.set("allow", "example.com:443")?;
//! let endpoint = Endpoint::new(settings)?;
//! let connection = endpoint
//!     .connect(ConnectConfig { url: "wss://example.com/feed".to_owned(), ..ConnectConfig::default() })
//!     .await?;
//! while let Some(message) = connection.receive().await? {
//!     println!("{message:?}");
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod accept;
mod connection;
mod dial;
mod driver;
mod endpoint;
mod error;
#[cfg(feature = "opentelemetry")]
mod export;
mod failure;
mod files;
mod flusher;
#[cfg(fuzzing)]
mod fuzzing;
mod handshake;
mod head;
mod metrics;
mod origin;
mod policy;
mod record;
mod refusal;
mod request;
mod settings;
mod shared;
mod sync;
mod target;
mod timer;
pub mod tls;
mod transport;
mod wakers;

pub use accept::{Refusal, Upgrade};
pub use connection::{Connection, ConnectionState};
pub use endpoint::Endpoint;
pub use error::Error;
pub use failure::{ConnectError, Reason, Step, TlsReason};
pub use files::read_file;
pub use metrics::{METRICS, Metric, MetricKind, Metrics, Sample};
pub use origin::OriginRule;
pub use policy::{Rule, RuleError};
pub use request::ConnectConfig;
pub use settings::{Proxy, ProxyDns, SETTINGS, Setting, SettingError, Settings};
pub use target::check_request;
pub use timer::{RuntimeTimers, ThreadTimers, Timer, Timers};
pub use transport::{TcpConnection, TlsConnection};
pub use websocket_protocol::{CloseInfo, Message, MessageRef};
