//! Every role, over TCP and over WebSockets: bytes arrive unchanged.

use crate::*;

#[tokio::test]
async fn every_role_carries_bytes_over_tcp_and_over_websockets() {
    let folder = tempfile::tempdir().unwrap();
    let reverse = config(&folder, "reverse");
    let reverse = ["--config-file", reverse.to_str().unwrap()];
    let (blocking, on_tokio) = (transport_path("transport"), transport_path("async_transport"));
    let server = echo().await;
    for network in Network::all() {
        for (module, options, most) in
            [(&blocking, &[][..], 64 << 20), (&blocking, &reverse, 4 << 20), (&on_tokio, &[], 1 << 20)]
        {
            let chain = Chain::start(module, &network, &server, options, &[]).await;
            let mut caller = chain.connect().await;
            for count in [1, 125, 65_536, most] {
                echoes(&mut caller, count).await;
            }
            // Its end goes through all of them, and nothing before it is lost.
            caller.shutdown().await.unwrap();
            assert!(rest(&mut caller).await.is_empty());
            chain.end().await;
        }
    }
}

#[tokio::test]
async fn the_network_carries_the_output_of_the_transport() {
    let folder = tempfile::tempdir().unwrap();
    let reverse = config(&folder, "reverse");
    let (network, remote) = far().await;
    let dialer = Watm::start("dial", "tcp://127.0.0.1:0", &remote, &["--config-file", reverse.to_str().unwrap()]).await;
    let mut caller = dialer.connect().await;
    let (mut far, _) = soon(network.accept()).await.unwrap();
    caller.write_all(&[1, 2, 3]).await.unwrap();
    let mut got = [0; 3];
    soon(far.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, [128, 64, 192]);
    // When the peer leaves, the caller's connection ends too.
    drop(far);
    assert!(rest(&mut caller).await.is_empty());
    dialer.end().await;
}
