//! WebSockets for core WebAssembly modules, which are no components: each ABI has a module of its own.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod payload;
mod types;
pub mod watm;
