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
    connection::{Connection, ConnectionState},
    parts::{ReceiveStream, SendStream},
    timer::{RuntimeTimers, ThreadTimers, Timer, Timers},
    transport::{TcpConnection, TlsConnection},
};
pub use endpoint::{Endpoint, Established, Incoming};
pub use error::{
    Error,
    connect::{ConnectError, Reason, Step, TlsReason},
};
pub use observe::metrics::{METRICS, Metric, MetricKind, Metrics, Sample};
pub use open::{
    accept::{AcceptConfig, Refusal, Upgrade, check_request},
    hook::Destination,
    request::ConnectConfig,
    tls,
};
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
};
