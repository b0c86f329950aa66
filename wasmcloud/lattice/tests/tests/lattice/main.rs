//! The provider on a lattice, end to end: a component on wasmCloud's host, NATS, the provider's process, a WebSocket
//! server. Every wait has a limit (`soon`).

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod calls;
mod handles;
mod links;
mod manifest;
mod replicas;
mod sizes;
