//! Transports in text, over pipes: their life, and every way to go wrong on it.

use super::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use wasmtime::{Config, Engine};

/// A transport in text that copies what comes on one end to the other and back, byte for byte: `worker` is what its
/// worker does. The caller is descriptor 3, the network 4, the cancel stream 5.
fn module(bodies: &[(&str, &str)]) -> String {
    let body = |name: &str, plain: &'static str| -> String {
        bodies.iter().find(|(other, _)| *other == name).map_or(plain, |(_, body)| *body).to_owned()
    };
    format!(
        r#"(module
            (import "env" "host_dial" (func $dial (result i32)))
            (import "env" "host_accept" (func $accept (result i32)))
            (import "env" "host_defer" (func $defer))
            (import "env" "pull_config" (func $config (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (global (export "_water_v0") i32 (i32.const 0))
            (func (export "_start") {start})
            (func (export "_water_init") (result i32) {init})
            (func (export "_water_dial") (param i32) (result i32) {dial})
            (func (export "_water_accept") (param i32) (result i32) (call $accept))
            (func (export "_water_associate") (result i32) (drop (call $accept)) (call $dial))
            (func (export "_water_cancel_with") (param i32) (result i32) {cancel})
            ;; One read of up to 64 KiB from 1024 on, all of it written; gives how much that was, or an error below 0.
            (func $move (param $from i32) (param $to i32) (result i32) (local $error i32)
                (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
                (local.set $error (call $read (local.get $from) (i32.const 0) (i32.const 1) (i32.const 16)))
                (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
                (i32.store (i32.const 4) (i32.load (i32.const 16)))
                (local.set $error (call $write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 20)))
                (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
                (i32.load (i32.const 16)))
            ;; A subscription at a place to reading a descriptor.
            (func $subscribe (param $place i32) (param $fd i32)
                (local.set $place (i32.add (i32.const 131072) (i32.mul (local.get $place) (i32.const 48))))
                (i64.store (local.get $place) (i64.extend_i32_u (local.get $fd)))
                (i32.store8 (i32.add (local.get $place) (i32.const 8)) (i32.const 1))
                (i32.store (i32.add (local.get $place) (i32.const 16)) (local.get $fd)))
            ;; Waits for one of the first subscriptions; gives the descriptor of the first event.
            (func $wait (param $count i32) (result i32)
                (if (call $poll (i32.const 131072) (i32.const 135168) (local.get $count) (i32.const 24)) (then unreachable))
                (i32.wrap_i64 (i64.load (i32.const 135168))))
            (func (export "_water_worker") (result i32) (local $fd i32) (local $moved i32) {worker}))"#,
        start = body("start", "(call $exit (i32.const 0))"),
        init = body("init", "(i32.const 0)"),
        dial = body("dial", "(call $dial)"),
        cancel = body("cancel", "(i32.const 0)"),
        worker = body("worker", COPIES),
    )
}

const COPIES: &str = "(drop (call $flags (i32.const 3) (i32.const 4))) (drop (call $flags (i32.const 4) (i32.const 4)))
    (call $subscribe (i32.const 0) (i32.const 3)) (call $subscribe (i32.const 1) (i32.const 4))
    (call $subscribe (i32.const 2) (i32.const 5))
    (loop
        (local.set $fd (call $wait (i32.const 3)))
        (if (i32.eq (local.get $fd) (i32.const 5)) (then (return (i32.const -11))))
        (local.set $moved (call $move (local.get $fd) (i32.sub (i32.const 7) (local.get $fd))))
        (if (i32.eqz (local.get $moved)) (then (return (i32.const 0))))
        (if (i32.eq (local.get $moved) (i32.const -64)) (then (return (i32.const -64))))
        (br_if 0 (i32.or (i32.gt_s (local.get $moved) (i32.const 0)) (i32.eq (local.get $moved) (i32.const -6)))))
    (local.get $moved)";

fn load(text: &str) -> Module {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Module::load(&Engine::new(&config).unwrap(), &wat::parse_str(text).unwrap()).unwrap()
}

/// The caller's end and the network's end of a connection, and the connection.
async fn opened(text: &str, options: Options) -> Result<(DuplexStream, DuplexStream, Running), RunError> {
    let (caller, near) = duplex(1 << 16);
    let (network, far) = duplex(1 << 16);
    let mut far = Some(far);
    let dial = move || -> BoxFuture<'static, io::Result<Box<dyn Transport>>> {
        let far = far.take().map(|far| Box::new(far) as Box<dyn Transport>);
        Box::pin(async move { far.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()) })
    };
    let running = Dialer::new(&load(text), options).unwrap().open(near, dial).await?;
    Ok((caller, network, running))
}

async fn refusal(bodies: &[(&str, &str)]) -> String {
    let limits = Limits { opening: Duration::from_millis(300), ..Limits::default() };
    let opened = opened(&module(bodies), Options { limits, ..Options::default() }).await;
    opened.expect_err("it does not open").to_string()
}

#[tokio::test]
async fn bytes_go_both_ways_until_an_end_goes() {
    let (mut caller, mut network, mut running) = opened(&module(&[]), Options::default()).await.unwrap();
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        let mut ends = [&mut caller, &mut network];
        let sent: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
        let mut got = vec![0; sent.len()];
        let (mut reader, mut writer);
        let [first, second] = &mut ends;
        if from == 0 {
            (writer, reader) = (split(first).1, split(second).0);
        } else {
            (writer, reader) = (split(second).1, split(first).0);
        }
        let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got));
        written.unwrap();
        read.unwrap();
        assert!(got == sent, "from {from} to {to}");
    }
    drop(caller);
    assert_eq!(running.ended().await.unwrap(), End::Normal);
    assert_eq!(network.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_is_cancelled_in_time_or_dropped() {
    let (_caller, _network, running) = opened(&module(&[]), Options::default()).await.unwrap();
    assert_eq!(running.cancel(Duration::from_secs(10)).await.unwrap(), End::Cancelled);
    // One that reads its caller alone is not to be moved.
    let deaf = module(&[("worker", "(call $move (i32.const 3) (i32.const 4))")]);
    let (_caller, mut network, running) = opened(&deaf, Options::default()).await.unwrap();
    let limit = Duration::from_millis(100);
    assert!(matches!(running.cancel(limit).await, Err(RunError::NotCancelled(same)) if same == limit));
    assert_eq!(network.read(&mut [0]).await.unwrap(), 0, "it is gone");
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_way_is_named() {
    for (bodies, said) in [
        (&[("init", "(i32.const -5)")], "`_water_init` of the transport gave -5"),
        (&[("init", "unreachable")], "`_water_init` of the transport failed: wasm trap: wasm `unreachable`"),
        (&[("start", "(call $exit (i32.const 3))")], "`_start` of the transport failed: Exited with i32 exit status 3"),
        (&[("dial", "(i32.const -53)")], "`_water_dial` of the transport gave -53"),
        (&[("dial", "(drop (call $dial)) (call $dial)")], "`_water_dial` of the transport gave -53"),
        (&[("dial", "(call $accept)")], "`_water_dial` of the transport gave -43"),
        (&[("dial", "(call $config)")], "`_water_dial` of the transport gave -2"),
        (&[("cancel", "(i32.const -1)")], "`_water_cancel_with` of the transport gave -1"),
        (
            &[(
                "dial",
                "(i32.sub (i32.const 0) (call $read (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 16)))",
            )],
            "gave -8",
        ),
        (
            &[(
                "dial",
                "(i32.sub (i32.const 0) (call $write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 16)))",
            )],
            "gave -21",
        ),
        (&[("dial", "(i32.sub (i32.const 0) (call $stat (i32.const 3) (i32.const 262140)))")], "gave -21"),
    ] {
        let why = refusal(bodies).await;
        assert!(why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn a_table_counts_against_the_limit_of_memory() {
    let large = module(&[]).replace("(memory (export", "(table 100000000 funcref) (memory (export");
    let why = opened(&large, Options::default()).await.expect_err("it is too large").to_string();
    assert!(why.contains("`instantiation` of the transport failed") && why.contains("table"), "{why}");
}

#[tokio::test]
async fn a_worker_that_traps_or_returns_something_says_so() {
    for (worker, expected) in
        [("(i32.const 0)", End::Normal), ("(i32.const -64)", End::PeerGone), ("(i32.const 7)", End::Code(7))]
    {
        let (_caller, _network, mut running) =
            opened(&module(&[("worker", worker)]), Options::default()).await.unwrap();
        assert_eq!(running.ended().await.unwrap(), expected);
    }
    let (_caller, _network, mut running) =
        opened(&module(&[("worker", "unreachable")]), Options::default()).await.unwrap();
    let why = running.ended().await.unwrap_err().to_string();
    assert!(why.contains("`_water_worker`") && why.contains("unreachable"), "{why}");
}

#[tokio::test]
async fn a_config_is_read_to_its_end_and_a_deferral_is_recorded() {
    // The config goes to the network, then the end of it.
    let worker = "(call $defer) (local.set $fd (call $config)) (drop (call $move (local.get $fd) (i32.const 4)))
        (call $move (local.get $fd) (i32.const 4))";
    let options = Options { config: Some(Bytes::from_static(b"settings")), ..Options::default() };
    let (_caller, mut network, mut running) = opened(&module(&[("worker", worker)]), options).await.unwrap();
    let mut got = Vec::new();
    network.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"settings");
    assert_eq!(running.ended().await.unwrap(), End::Normal);
    assert!(running.has_deferred());
}

#[tokio::test]
async fn a_stream_that_does_not_block_says_again_and_one_that_is_over_gives_nothing() {
    let worker = "(drop (call $flags (i32.const 3) (i32.const 4))) (call $move (i32.const 3) (i32.const 4))";
    let (_caller, _network, mut running) = opened(&module(&[("worker", worker)]), Options::default()).await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Code(-6));
    let (caller, _network, mut running) =
        opened(&module(&[("worker", "(call $move (i32.const 3) (i32.const 4))")]), Options::default()).await.unwrap();
    drop(caller);
    assert_eq!(running.ended().await.unwrap(), End::Normal);
}

#[tokio::test]
async fn a_transport_that_could_write_sleeps_until_it_has_something_to() {
    // Asks for reading its caller and for writing the network, and counts how often it is woken.
    let worker = "(call $subscribe (i32.const 0) (i32.const 3)) (call $subscribe (i32.const 1) (i32.const 4))
        (i32.store8 (i32.const 131128) (i32.const 2))
        (loop
            (local.set $moved (i32.add (local.get $moved) (i32.const 1)))
            (if (i32.eq (local.get $moved) (i32.const 2)) (then (call $defer)))
            (br_if 0 (i32.eq (call $wait (i32.const 2)) (i32.const 4))))
        (local.get $moved)";
    let (mut caller, _network, mut running) = opened(&module(&[("worker", worker)]), Options::default()).await.unwrap();
    // Once it was told that it can write, it goes to sleep.
    while !running.has_deferred() {
        tokio::task::yield_now().await;
    }
    caller.write_all(b"!").await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Code(2));
}

#[test]
fn a_module_is_told_all_that_it_lacks() {
    let engine = Engine::default();
    let load = |text: &str| Module::load(&engine, &wat::parse_str(text).unwrap());
    let roles = load(&module(&[])).unwrap().roles();
    assert_eq!(roles.to_string(), "dial, listen, relay");
    let Err(LoadError::Invalid(wrong)) = load(
        r#"(module (import "env" "host_dial" (func (result i64))) (import "env" "launch" (func))
            (import "wasi_snapshot_preview1" "fd_read" (func (param i32)))
            (func (export "_water_init")) (func (export "_water_worker") (result i32) (i32.const 0)))"#,
    ) else {
        panic!("the module must not load as a transport")
    };
    for part in [
        "`env.host_dial` as () -> i64, which is () -> i32",
        "`env.launch`, which transports do not have",
        "`wasi_snapshot_preview1.fd_read` as (i32), which is (i32, i32, i32, i32) -> i32",
        "does not export `memory`",
        "does not export `_water_v0`",
        "`_water_init` is (), and not () -> i32",
        "does not export `_water_cancel_with`",
        "none of `_water_dial`",
    ] {
        assert!(wrong.iter().any(|one| one.contains(part)), "{part}: {wrong:?}");
    }
    for newer in [
        r#"(module (func (export "watm_init_v1")))"#,
        r#"(module (import "env" "water_dial" (func)))"#,
        r#"(module (global (export "_water_v1") i32 (i32.const 0)))"#,
    ] {
        assert!(matches!(load(newer), Err(LoadError::Newer(_))));
    }
    let dials = module(&[]).replace("(export \"_water_accept\")", "").replace("(export \"_water_associate\")", "");
    let dials = load(&dials).unwrap();
    let why = Relay::new(&dials, Options::default()).err().unwrap().to_string();
    assert_eq!(why, "it cannot relay, since it does not export `_water_associate`; it can dial");
}

#[tokio::test]
async fn a_transport_is_told_again_that_it_can_write_when_something_has_happened() {
    // It asks whether it can write while it has nothing to, reads, and then waits for nothing but to write or to end.
    let worker = "(call $subscribe (i32.const 0) (i32.const 3)) (call $subscribe (i32.const 1) (i32.const 4))
        (i32.store8 (i32.const 131128) (i32.const 2))
        (if (i32.ne (call $wait (i32.const 2)) (i32.const 4)) (then unreachable))
        (call $defer)
        (if (i32.ne (call $wait (i32.const 2)) (i32.const 3)) (then unreachable))
        (call $subscribe (i32.const 0) (i32.const 5))
        (if (i32.ne (call $wait (i32.const 2)) (i32.const 4)) (then unreachable))
        (call $move (i32.const 3) (i32.const 4))";
    let (mut caller, _network, mut running) = opened(&module(&[("worker", worker)]), Options::default()).await.unwrap();
    while !running.has_deferred() {
        tokio::task::yield_now().await;
    }
    caller.write_all(b"!").await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Code(1));
}

#[tokio::test]
async fn a_stream_that_never_runs_dry_leaves_another_its_turn() {
    // Reads its caller until it is told that there is nothing, and gives how often it was told something else.
    let worker = "(drop (call $flags (i32.const 3) (i32.const 4)))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 16384))
        (loop
            (local.set $moved (i32.add (local.get $moved) (i32.const 1)))
            (br_if 0 (i32.eqz (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16)))))
        (local.get $moved)";
    let endless = tokio::io::join(tokio::io::repeat(b'!'), tokio::io::sink());
    let (mut network, far) = duplex(1 << 16);
    network.write_all(b"?").await.unwrap();
    let mut far = Some(far);
    let dial = move || -> BoxFuture<'static, io::Result<Box<dyn Transport>>> {
        let far = far.take().map(|far| Box::new(far) as Box<dyn Transport>);
        Box::pin(async move { far.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()) })
    };
    let dialer = Dialer::new(&load(&module(&[("worker", worker)])), Options::default()).unwrap();
    let mut running = dialer.open(endless, dial).await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Code(5), "64 KiB in a row");
}

#[tokio::test]
async fn a_peer_that_sends_before_it_reads_holds_up_one_direction_alone() {
    const ALL: usize = 1 << 20;
    for network_is_first in [true, false] {
        let (caller, network, mut running) = opened(&module(&[]), Options::default()).await.unwrap();
        let (first, both) = if network_is_first { (network, caller) } else { (caller, network) };
        let first = async move {
            let (mut reader, mut writer) = split(first);
            writer.write_all(&vec![1; ALL]).await.unwrap();
            let mut got = vec![0; ALL];
            reader.read_exact(&mut got).await.unwrap();
            assert!(got == vec![2; ALL]);
        };
        let both = async move {
            let (mut reader, mut writer) = split(both);
            let (sent, mut got) = (vec![2; ALL], vec![0; ALL]);
            let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got));
            written.unwrap();
            read.unwrap();
            assert!(got == vec![1; ALL]);
        };
        let exchanged = async { tokio::join!(first, both) };
        tokio::time::timeout(Duration::from_secs(30), exchanged).await.expect("neither direction waits for the other");
        assert_eq!(running.ended().await.unwrap(), End::Normal);
    }
}

#[tokio::test]
async fn what_a_transport_wrote_arrives_though_it_has_ended() {
    // More than the pipe holds, in parts, and then the end of it, of the stream, or of the transport.
    for end in ["", "(drop (call $shutdown (i32.const 4) (i32.const 2)))", "(drop (call $close (i32.const 4)))"] {
        let worker = "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100000))
            (loop
                (drop (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 20)))
                (local.set $moved (i32.add (local.get $moved) (i32.const 1)))
                (br_if 0 (i32.lt_s (local.get $moved) (i32.const 5))))"
            .to_owned()
            + end
            + "(i32.const 0)";
        let (_caller, mut network, mut running) =
            opened(&module(&[("worker", &worker)]), Options::default()).await.unwrap();
        let mut got = Vec::new();
        network.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 500_000, "{end}");
        assert_eq!(running.ended().await.unwrap(), End::Normal);
    }
}

#[tokio::test]
async fn a_transport_that_writes_more_than_may_wait_waits_for_room() {
    const ALL: usize = 40 * 100_000;
    let worker = "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100000))
        (loop
            (local.set $fd (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 20)))
            (local.set $moved (i32.add (local.get $moved) (i32.const 1)))
            (if (i32.eq (local.get $moved) (i32.const 40)) (then (call $defer)))
            (br_if 0 (i32.eqz (local.get $fd))))
        (i32.sub (i32.const 0) (local.get $fd))";
    let (_caller, mut network, mut running) = opened(&module(&[("worker", worker)]), Options::default()).await.unwrap();
    // This thread is its own too: once a byte is here, it has written all that it could.
    network.read_u8().await.unwrap();
    assert!(!running.has_deferred(), "it wrote 4 MB that nobody read");
    network.read_exact(&mut vec![0; ALL - 1]).await.unwrap();
    assert!(running.has_deferred());
    // Once nobody can read it, it is told.
    drop(network);
    assert_eq!(running.ended().await.unwrap(), End::PeerGone);
}

/// Writes more to its network than a pipe holds, and returns.
const WRITES_AND_RETURNS: &str =
    "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100000))
    (drop (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 20)))";

fn within(closing: Duration) -> Options {
    Options { limits: Limits { closing, ..Limits::default() }, ..Options::default() }
}

#[tokio::test]
async fn a_peer_that_sends_before_it_reads_is_read_while_a_transport_ends() {
    for close in ["", "(drop (call $close (i32.const 4)))"] {
        let worker = format!("{WRITES_AND_RETURNS} {close} (i32.const 0)");
        let worker = module(&[("worker", &worker)]);
        let (_caller, mut network, mut running) = opened(&worker, within(Duration::from_secs(30))).await.unwrap();
        network.write_all(&vec![1; 1 << 20]).await.unwrap();
        let mut got = Vec::new();
        network.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 100_000);
        drop(network);
        assert_eq!(running.ended().await.unwrap(), End::Normal);
    }
}

#[tokio::test]
async fn a_transport_that_has_returned_ends_in_time_whatever_its_peers_do() {
    let limit = Duration::from_millis(200);
    for close in ["", "(drop (call $close (i32.const 4)))"] {
        let worker = format!("{WRITES_AND_RETURNS} {close} (i32.const 7)");
        let worker = module(&[("worker", &worker)]);
        // Nobody reads.
        let (_caller, _network, mut running) = opened(&worker, within(limit)).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), running.ended()).await;
        assert_eq!(ended.expect("it ends in time").unwrap(), End::Code(7));
        // Nor does it wait for long once it is cancelled.
        let (_caller, _network, running) = opened(&worker, within(Duration::from_secs(3600))).await.unwrap();
        let cancelled = running.cancel(Duration::from_secs(10));
        let ended = tokio::time::timeout(Duration::from_secs(20), cancelled).await;
        assert_eq!(ended.expect("it ends in time").unwrap(), End::Code(7));
    }
}

#[tokio::test]
async fn a_close_does_not_wait_for_the_peer() {
    // It closes a stream that nobody reads, and then moves what its caller says to nowhere.
    let worker = format!(
        "{WRITES_AND_RETURNS} (drop (call $close (i32.const 4)))
        (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 16))"
    );
    let worker = module(&[("worker", &worker)]);
    let (mut caller, _network, mut running) = opened(&worker, within(Duration::from_millis(200))).await.unwrap();
    caller.write_all(b"!").await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Normal);
}

#[tokio::test]
async fn a_write_fails_that_waits_for_too_long() {
    let worker = "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100000))
        (loop
            (local.set $fd (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 20)))
            (br_if 0 (i32.eqz (local.get $fd))))
        (local.get $fd)";
    let limits =
        Limits { writing: Duration::from_millis(200), closing: Duration::from_millis(200), ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let (_caller, _network, mut running) = opened(&module(&[("worker", worker)]), options).await.unwrap();
    assert_eq!(running.ended().await.unwrap(), End::Code(73));
}

#[tokio::test]
async fn streams_that_are_closed_and_have_something_to_send_count_as_descriptors() {
    // It dials, writes and closes until it gets no more, and gives how often it did.
    let worker = "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100000))
        (loop
            (local.set $fd (call $dial))
            (if (i32.lt_s (local.get $fd) (i32.const 0)) (then (return (local.get $moved))))
            (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 20)))
            (drop (call $close (local.get $fd)))
            (local.set $moved (i32.add (local.get $moved) (i32.const 1)))
            (br 0))
        (i32.const 0)";
    let (_caller, near) = duplex(1 << 16);
    let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let dial = move || -> BoxFuture<'static, io::Result<Box<dyn Transport>>> {
        let (network, far) = duplex(1);
        keep.send(network).unwrap();
        Box::pin(async move { Ok(Box::new(far) as Box<dyn Transport>) })
    };
    let dialer = Dialer::new(&load(&module(&[("worker", worker)])), within(Duration::from_secs(1))).unwrap();
    let mut running = dialer.open(near, dial).await.unwrap();
    let End::Code(count) = running.ended().await.unwrap() else { panic!("it has no descriptor left") };
    assert!((50..=64).contains(&count), "{count}");
    assert!(kept.recv().await.is_some());
}
