//! `wasmcloud:websocket` for components of WASI 0.2, whose calls are synchronous to the guest and
//! asynchronous to the host.

mod bindings;
mod conversions;
mod functions;
mod host;
mod outgoing;
mod versions;

pub use host::{VERSIONS, add_to_linker};

/// What a message carries: given without a copy.
type Payload = bytes::Bytes;
