//! What the end of one direction means. A transport sees it as the end of a stream, and passes it on with `sock_shutdown`, or
//! ends.

use crate::*;

const SENT: usize = 3_000_000;

#[tokio::test]
async fn over_tcp_a_transport_passes_one_end_on_and_the_other_direction_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let half_close = config(&folder, "half-close");
    let (listener, server) = far().await;
    let (module, network) = (transport_path("async_transport"), Network::of("tcp://127.0.0.1:0"));
    let half_close = ["--config-file", half_close.to_str().unwrap()];
    let chain = Chain::start(&module, &network, &server, &half_close, &half_close).await;
    let mut caller = chain.connect().await;
    let (mut far, _) = soon(listener.accept()).await.unwrap();
    let answers = async {
        let got = rest(&mut far).await;
        assert!(got == bytes(SENT), "{} bytes arrived", got.len());
        far.write_all(&got).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let asks = async {
        caller.write_all(&bytes(SENT)).await.unwrap();
        caller.shutdown().await.unwrap();
        let got = rest(&mut caller).await;
        assert!(got == bytes(SENT), "{} bytes came back", got.len());
    };
    soon(async { tokio::join!(answers, asks) }).await;
    chain.end().await;
}

#[tokio::test]
async fn without_a_half_close_the_end_of_one_direction_ends_both_and_loses_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let half_close = config(&folder, "half-close");
    let half_close = ["--config-file", half_close.to_str().unwrap()];
    let (listener, server) = far().await;
    let (blocking, on_tokio) = (transport_path("transport"), transport_path("async_transport"));
    let (tcp, websocket) = (Network::of("tcp://127.0.0.1:0"), Network::of("ws://127.0.0.1:0/t"));
    // Transports of either kind that know none, and a network that has none.
    for (module, network, options) in [
        (&blocking, &tcp, &[][..]),
        (&on_tokio, &tcp, &[]),
        (&blocking, &websocket, &[]),
        (&on_tokio, &websocket, &half_close),
    ] {
        let chain = Chain::start(module, network, &server, options, options).await;
        let mut caller = chain.connect().await;
        let (mut far, _) = soon(listener.accept()).await.unwrap();
        let sends = async {
            caller.write_all(&bytes(SENT)).await.unwrap();
            caller.shutdown().await.unwrap();
            assert!(rest(&mut caller).await.is_empty());
        };
        let (got, ()) = soon(async { tokio::join!(rest(&mut far), sends) }).await;
        assert!(got == bytes(SENT), "{} bytes arrived", got.len());
        // And the other way round.
        let mut caller = chain.connect().await;
        let (mut far, _) = soon(listener.accept()).await.unwrap();
        let answers = async {
            far.write_all(&bytes(SENT)).await.unwrap();
            drop(far);
        };
        let (got, ()) = soon(async { tokio::join!(rest(&mut caller), answers) }).await;
        assert!(got == bytes(SENT), "{} bytes came", got.len());
        chain.end().await;
    }
}
