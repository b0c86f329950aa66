//! A lattice for a test: a NATS server, wasmCloud's hosts, the provider, a component, and WebSocket servers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![allow(missing_debug_implementations)]

mod caller;
mod echo;
mod lattice;
mod nats;
mod probe;
mod process;
#[path = "../../../../tests/guests/probe/src/protocol.rs"]
mod protocol;

pub use caller::{Caller, Handle, client, types};
pub use echo::{Echo, Event};
pub use lattice::{COMPONENT, Lattice, PROVIDER};
pub use nats::Nats;
pub use probe::{Probe, measure};
pub use process::{kill, who_dialled};
pub use protocol::{Answer, Ask, Config, Failure, Message, State};
pub use test_peer::{CLOSE, Peer, TEXT, close_payload, frame, soon};
