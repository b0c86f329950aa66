//! What a guest in the program sees of servers that misbehave, and how soon.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use test_peer::Authority;
use tests::{
    faults::{LIMITS, Scenario, compression_scenarios, scenarios},
    probe::Probe,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_guest_in_the_program_meets_every_fault() {
    meet(&[], scenarios()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_guest_with_compression_meets_every_fault_of_compression() {
    meet(&["--compress", "true"], compression_scenarios()).await;
}

/// Plays these scenarios with one guest in a program that has these options.
async fn meet(options: &[&str], scenarios: impl Iterator<Item = Scenario>) {
    let authority = Authority::new("known");
    let limits = LIMITS.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
    let limits: Vec<_> = limits.chain(["--ca-cert".to_owned(), authority.file("ca.pem")]).collect();
    let options: Vec<_> = limits.iter().map(String::as_str).chain(options.iter().copied()).collect();
    let mut guest = Probe::start(&options);
    for scenario in scenarios {
        scenario.play(&mut guest, &authority).await;
    }
    let (status, log) = guest.end().await;
    assert!(status.success(), "{log}");
}
