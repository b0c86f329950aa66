//! After guests have met servers that misbehave, nothing is left in the host: no task, no socket, no byte. This test is
//! alone in its process, because it counts the heap.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;
use test_peer::{Authority, soon};
use tests::{
    Host,
    faults::{LIMITS, Scenario, comes_true, scenarios},
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
};

/// Counts what is allocated and not freed.
#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Guests that meet the same fault at the same time.
const AT_ONCE: usize = 4;
/// How often: what leaks grows each time, and what runtimes and TLS keep for the next time does not. tokio keeps up to 16
/// sockets that are gone, before it frees all of them.
const ROUNDS: usize = 20;

#[test]
fn faults_leave_no_task_no_socket_and_no_byte_behind() {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap();
    let authority = Arc::new(Authority::new("known"));
    let host = Host::new(&[&LIMITS[..], &[("ca-cert", &authority.file("ca.pem"))]].concat());
    let _profiler = dhat::Profiler::builder().testing().build();
    for scenario in scenarios() {
        let mut held = Vec::new();
        let leaks = (0..ROUNDS).all(|_| {
            runtime.block_on(meet(scenario, &host, &authority));
            held.push(dhat::HeapStats::get().curr_bytes);
            held.len() < 2 || held[held.len() - 2] < held[held.len() - 1]
        });
        assert!(!leaks, "{scenario:?} leaves more bytes each time: {held:?}");
    }
}

async fn meet(scenario: Scenario, host: &Host, authority: &Arc<Authority>) {
    let mut guests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (mut guest, running) = host.probe();
        let authority = Arc::clone(authority);
        guests.spawn(async move {
            scenario.play(&mut guest, &authority).await;
            drop(guest);
            soon(running).await.unwrap().unwrap();
        });
    }
    while let Some(done) = guests.join_next().await {
        done.unwrap();
    }
    let tasks = Handle::current().metrics();
    comes_true(&format!("{scenario:?} leaves tasks"), || tasks.num_alive_tasks() == 0).await;
}
