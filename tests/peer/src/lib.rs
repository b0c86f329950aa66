//! The other end of a connection under test: a server whose every byte the test decides, and the
//! certificates that it shows. And damage to files.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod authority;
mod compression;
mod damage;
mod frame;
mod peer;

pub use authority::{Authority, acceptor_of_file, acceptor_with, certificate_file};
pub use compression::{COMPRESSION, CompressionCase, INVALID_ANSWERS, zeros};
pub use damage::damaged;
pub use frame::{BINARY, CLOSE, PING, PONG, TEXT, close_payload, frame};
pub use peer::{Peer, nobody_dialled, read_head};

use std::{future::Future, time::Duration};

/// Awaits what must come, and fails the test rather than hang when it does not.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("this must not take so long")
}
