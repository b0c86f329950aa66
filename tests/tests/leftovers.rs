//! After guests have met servers that misbehave, nothing is left in the host: no task, no socket, no byte. This test is
//! alone in its process, because it counts the heap.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    process::{Command, ExitStatus},
    sync::Arc,
};
use test_peer::{Authority, soon};
use tests::{
    Host,
    faults::{LIMITS, Scenario, comes_true, compression_scenarios, scenarios},
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
};

/// Counts what is allocated and not freed.
#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Guests that meet the same fault at the same time.
const AT_ONCE: usize = 2;
/// How often: what leaks grows each time, and what runtimes and TLS keep for the next time does not. tokio keeps up to 16
/// sockets that are gone, before it frees all of them.
const ROUNDS: usize = 20;

/// How many processes share the scenarios: they wait more than they compute.
const PROCESSES: usize = 4;
/// Tells such a process which one it is.
const PROCESS: &str = "LEFTOVERS_PROCESS";

#[test]
fn faults_leave_no_task_no_socket_and_no_byte_behind() {
    if let Ok(process) = std::env::var(PROCESS) {
        return nothing_is_left(process.parse().unwrap());
    }
    let program = std::env::current_exe().unwrap();
    let start = |process: usize| Command::new(&program).env(PROCESS, process.to_string()).spawn().unwrap();
    let processes: Vec<_> = (0..PROCESSES).map(start).collect();
    let ends: Vec<_> = processes.into_iter().map(|mut process| process.wait().unwrap()).collect();
    assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
}

/// Plays this process's share of the scenarios.
fn nothing_is_left(process: usize) {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap();
    let authority = Arc::new(Authority::new("known"));
    let ca = authority.file("ca.pem");
    let host = |compress| Host::new(&[&LIMITS[..], &[("ca-cert", &ca), ("compress", compress)]].concat());
    let (plain, compressing) = (host("false"), host("true"));
    let of_compression = compression_scenarios().map(|scenario| (scenario, &compressing));
    let all = scenarios().map(|scenario| (scenario, &plain)).chain(of_compression);
    let _profiler = dhat::Profiler::builder().testing().build();
    for (scenario, host) in all.skip(process).step_by(PROCESSES) {
        let mut held = Vec::new();
        let leaks = (0..ROUNDS).all(|_| {
            runtime.block_on(meet(scenario, host, &authority));
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
