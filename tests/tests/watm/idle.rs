//! The processor time of idle connections.

use crate::*;

/// A transport that always polls for writing, as some do: the version is a global, and its worker polls its three
/// descriptors for reading and two of them for writing.
const EAGER: &str = r#"(module
    (import "env" "host_dial" (func $dial (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 4)
    (global (export "_water_v0") i32 (i32.const 0))
    (func (export "_start") (call $exit (i32.const 0)))
    (func (export "_water_init") (result i32) (i32.const 0))
    (func (export "_water_dial") (param i32) (result i32) (call $dial))
    (func (export "_water_cancel_with") (param i32) (result i32) (i32.const 0))
    (func $subscribe (param $place i32) (param $kind i32) (param $fd i32)
        (local.set $place (i32.add (i32.const 131072) (i32.mul (local.get $place) (i32.const 48))))
        (i32.store8 (i32.add (local.get $place) (i32.const 8)) (local.get $kind))
        (i32.store (i32.add (local.get $place) (i32.const 16)) (local.get $fd)))
    (func $move (param $from i32) (param $to i32) (result i32) (local $error i32)
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
        (local.set $error (call $read (local.get $from) (i32.const 0) (i32.const 1) (i32.const 16)))
        (if (i32.eq (local.get $error) (i32.const 6)) (then (return (i32.const 1))))
        (if (local.get $error) (then unreachable))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (if (call $write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 20)) (then unreachable))
        (i32.load (i32.const 16)))
    (func (export "_water_worker") (result i32)
        (drop (call $flags (i32.const 3) (i32.const 4))) (drop (call $flags (i32.const 4) (i32.const 4)))
        (call $subscribe (i32.const 0) (i32.const 1) (i32.const 3)) (call $subscribe (i32.const 1) (i32.const 1) (i32.const 4))
        (call $subscribe (i32.const 2) (i32.const 1) (i32.const 5)) (call $subscribe (i32.const 3) (i32.const 2) (i32.const 3))
        (call $subscribe (i32.const 4) (i32.const 2) (i32.const 4))
        (loop
            (if (call $poll (i32.const 131072) (i32.const 135168) (i32.const 5) (i32.const 24)) (then unreachable))
            (br_if 0 (i32.and
                (i32.ne (call $move (i32.const 3) (i32.const 4)) (i32.const 0))
                (i32.ne (call $move (i32.const 4) (i32.const 3)) (i32.const 0)))))
        (i32.const 0)))"#;

/// How many connections are idle at the same time.
const IDLE: usize = 50;

#[tokio::test]
async fn idle_connections_of_every_kind_take_less_than_a_hundredth_of_a_core() {
    let folder = tempfile::tempdir().unwrap();
    let eager = folder.path().join("eager.wasm");
    std::fs::write(&eager, wat::parse_str(EAGER).unwrap()).unwrap();
    let half_close = config(&folder, "half-close");
    let half_close = ["--config-file", half_close.to_str().unwrap()];
    let (blocking, on_tokio) = (transport_path("transport"), transport_path("async_transport"));
    let server = echo().await;
    let (listener, silent) = far().await;
    for (module, options, remote) in [
        (&blocking, &[][..], &server),
        (&eager, &[], &server),
        (&on_tokio, &[], &server),
        (&on_tokio, &half_close, &silent),
    ] {
        let dialer = Watm::start_with(module, "dial", "tcp://127.0.0.1:0", remote, options).await;
        let mut callers = Vec::new();
        for _ in 0..IDLE {
            let mut caller = dialer.connect().await;
            if remote == &server {
                echoes(&mut caller, 10_000).await;
                callers.push((caller, None));
            } else {
                // One end has gone, and the other says nothing.
                let (mut far, _) = soon(listener.accept()).await.unwrap();
                caller.shutdown().await.unwrap();
                assert!(rest(&mut far).await.is_empty());
                callers.push((caller, Some(far)));
            }
        }
        // Measures the idle time. A transport that spins would use a whole core.
        let process = dialer.program.process();
        let before = kernel::processor_millis(process);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = kernel::processor_millis(process) - before;
        println!("{}, {options:?}: {used} ms in a second", module.display());
        assert!(used < 10 * IDLE as u64, "{IDLE} of {} used {used} ms", module.display());
        drop(callers);
        let (status, log) = dialer.program.interrupt().await;
        assert!(status.success() && !log.contains("failed"), "{status}: {log}");
    }
}
