//! Transports that misbehave, unreachable networks, and callers beyond the limit of descriptors.

use crate::*;
use futures_util::FutureExt;

#[tokio::test]
async fn a_worker_that_fails_or_never_ends_affects_only_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = echo().await;
    for (worker, said) in [
        ("unreachable", Some("`_water_worker` of the transport failed: wasm trap")),
        ("(i32.const 12345)", None),
        ("(loop (br 0)) (i32.const 0)", Some("did not return within 5s after it was cancelled")),
    ] {
        let module = transport(&folder, worker);
        let dialer = Watm::start_with(&module, "dial", "tcp://127.0.0.1:0", &server, &[]).await;
        let mut callers = [dialer.connect().await, dialer.connect().await];
        for caller in &mut callers {
            soon(caller.read_u8()).await.unwrap();
            if !worker.starts_with("(loop") {
                assert!(matches!(soon(caller.read(&mut [0; 8])).await, Ok(0) | Err(_)));
            }
        }
        let (status, log) = dialer.program.interrupt().await;
        assert!(status.success(), "{status}: {log}");
        assert!(said.map_or(log.is_empty(), |said| log.contains(said)), "{worker}: {log}");
    }
}

#[tokio::test]
async fn an_unreachable_network_ends_the_caller_and_is_logged() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for remote in [format!("tcp://{dead}"), format!("ws://{dead}/t")] {
        let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &[]).await;
        let mut caller = dialer.connect().await;
        assert!(matches!(soon(caller.read(&mut [0; 8])).await, Ok(0) | Err(_)));
        let (status, log) = dialer.program.interrupt().await;
        assert!(
            status.success()
                && log.contains(&remote)
                && log.contains("`_water_dial` of the transport gave -53: ")
                && log.contains("onnection refused"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn without_descriptors_callers_wait_until_another_goes() {
    let mut dialer = Watm::start("dial", "tcp://127.0.0.1:0", &echo().await, &[]).await;
    let mut first = dialer.connect().await;
    echoes(&mut first, 100).await;
    let process = dialer.program.process().to_string();
    let limit = async |most: &str| {
        let limited = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={most}:")]).status().await;
        assert!(limited.unwrap().success());
    };
    // No descriptor is left for a new caller.
    limit("3").await;
    let mut second = dialer.connect().await;
    second.write_all(b"?").await.unwrap();
    dialer.program.logs("cannot accept a connection").await;
    assert!(second.read_u8().now_or_never().is_none());
    limit("1000").await;
    drop(first);
    assert_eq!(soon(second.read_u8()).await.unwrap(), b'?');
    let (status, log) = dialer.program.interrupt().await;
    assert!(status.success(), "{status}: {log}");
}
