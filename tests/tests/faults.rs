//! What a guest in the program sees of servers that misbehave, and how soon.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use test_peer::Authority;
use tests::{
    faults::{LIMITS, scenarios},
    probe::Probe,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_guest_in_the_program_meets_every_fault() {
    let authority = Authority::new("known");
    let mut options = vec!["--ca-cert".to_owned(), authority.file("ca.pem")];
    options.extend(LIMITS.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut guest = Probe::start(&options);
    for scenario in scenarios() {
        scenario.play(&mut guest, &authority).await;
    }
    let (status, log) = guest.end().await;
    assert!(status.success(), "{log}");
}
