//! The bodies of the fuzz targets.

mod case;
// The crate that has it brings a whole WebAssembly runtime.
#[path = "../../crates/abi-bridge/src/codec/mod.rs"]
#[expect(dead_code, unused_imports)]
mod codec;
mod config;
mod frames;
mod guest;
mod handshake;
mod payload;
mod peer;
mod reference;

pub use config::config;
pub use frames::frames;
pub use handshake::handshake;
pub use payload::payload;
