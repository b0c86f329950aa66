//! What operators see of connections: log events, spans and counters.

#[cfg(feature = "opentelemetry")]
mod export;
pub(crate) mod metrics;
pub(crate) mod record;
