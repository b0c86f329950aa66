//! What the end-to-end tests share: the program and the guests that `make build` has built, and
//! third-party servers to talk to.

// Nothing but tests uses these types, and none prints them.
#![allow(missing_debug_implementations)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod build;
mod component;
pub mod faults;
mod host;
pub mod kernel;
pub mod probe;
mod program;
pub mod second_host;
mod server;
mod serving;
pub mod soak_message;

pub use build::{build_assembly_guest, build_guest, build_project, copy_project};
pub use component::{component, component_with};
pub use host::{Guest, Host, Limits};
pub use program::{
    Running, core_guest, example_path, guest, guest_path, has_usage, interrupt, program, run, signal, target,
    transport_path, unruly,
};
pub use server::{Behaviour, Seen, Server};
pub use serving::{Answered, Client, Serving};
pub use test_peer::soon;

use std::io::Write;

/// Prints in one line, past the output capture of the test harness, why a test is skipped. If
/// `REQUIRE_PEERS` is set, as in CI, that is a failure.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("REQUIRE_PEERS").is_none(), "REQUIRE_PEERS is set, and {why}");
    // Nobody is there to be told when standard error is closed.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}
