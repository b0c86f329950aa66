//! The bodies of the fuzz targets.

mod case;
mod config;
mod deflate;
mod frames;
mod guest;
mod handshake;
mod inflate;
mod messages;
mod payload;
mod peer;
mod reference;
mod request;
mod streams;

pub use config::config;
pub use deflate::deflate;
pub use frames::frames;
pub use handshake::handshake;
pub use messages::messages;
pub use payload::payload;
pub use request::request;
pub use streams::streams;
