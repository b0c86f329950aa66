//! WebSockets over real transports, without any WebAssembly: dial, accept, drive, keep alive and close, with limits and a
//! policy.
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
//!     .connect(ConnectConfig::new("wss://example.com/feed"))
//!     .await?;
//! connection.send("hello").await?;
//! while let Some(message) = connection.receive().await? {
//!     println!("{message:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! By default, all but `aws-lc-rs` and `opentelemetry` are on.
//!
//! - `tls`: `wss://`, with rustls. Without it, a connect to `wss://` fails with `TlsReason::Unavailable`, and
//!   [`Endpoint::new`] refuses the settings of TLS.
//! - `ring`, `aws-lc-rs`: the cryptography of TLS where the process has installed no other provider. Both imply `tls`.
//! - `native-roots`: trusts the root certificates of the system. It implies `tls`.
//! - `server`: accepts WebSockets: `Endpoint::upgrade`, for requests that hyper received, and `Endpoint::accept_over`.
//! - `opentelemetry`: exports the counters: `Metrics::export`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod drive;
mod endpoint;
mod error;
#[cfg(fuzzing)]
mod fuzzing;
mod observe;
mod open;
mod settings;

pub use drive::{
    calls::Closure,
    connection::{Connection, ConnectionState},
    parts::{ReceiveStream, SendStream},
    timer::{RuntimeTimers, ThreadTimers, Timer, Timers},
    transport::TcpConnection,
};
#[cfg(feature = "server")]
pub use endpoint::Incoming;
pub use endpoint::{AcceptConfig, Endpoint, Established};
pub use error::{
    Error,
    connect::{ConnectError, Reason, Step, TlsReason},
};
pub use observe::metrics::{METRICS, Metric, MetricKind, Metrics, Sample};
#[cfg(feature = "server")]
pub use open::accept::{Refusal, Upgrade, check_request};
#[cfg(feature = "tls")]
pub use open::tls::{self, connection::TlsConnection};
pub use open::{hook::Destination, request::ConnectConfig};
pub use settings::{
    Concerns, Proxy, ProxyDns, SETTINGS, Setting, SettingError, Settings,
    files::read_file,
    origin::OriginRule,
    parse_size, parse_time_limit,
    rule::{Rule, RuleError},
};
pub use websocket_protocol::{
    CloseInfo, Message, MessageKind, MessageRef, Role,
    frame::{Frame, Opcode},
    message::PreparedMessage,
};
