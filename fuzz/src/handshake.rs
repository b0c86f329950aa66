//! What a server answers to the opening handshake, in pieces.

use arbitrary::{Arbitrary, Unstructured};
use std::{sync::LazyLock, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::Builder,
    time::timeout,
};
use websocket_connection::{ConnectConfig, Endpoint, Error, Settings};

#[derive(Debug, Arbitrary)]
struct Case {
    subprotocols: bool,
    ends: bool,
    cut: u8,
    answer: Vec<u8>,
}

/// Runs one case.
pub fn handshake(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { timeout(Duration::from_secs(3600), play(case)).await.expect("it ends in time") });
}

async fn play(case: Case) {
    // It reads the certificates of the system, which takes longer than all of this.
    static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| Endpoint::new(Settings::default()).expect("good settings"));
    let offered = if case.subprotocols { vec!["chat".to_owned(), "log".to_owned()] } else { vec![] };
    let config =
        ConnectConfig { url: "ws://localhost/".to_owned(), subprotocols: offered.clone(), ..ConnectConfig::default() };
    let (near, mut far) = duplex(1 << 16);
    let server = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(far.read_u8().await.expect("a request comes"));
        }
        for piece in case.answer.chunks(usize::from(case.cut) + 1) {
            // The client may have heard enough.
            if far.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // What is kept open stalls.
        (!case.ends).then_some(far)
    };
    let (outcome, _far) = tokio::join!(ENDPOINT.handshake_over(near, config), server);
    match outcome {
        // Only the right key opens it, and no fuzzer finds that.
        Ok((subprotocol, _)) => panic!("opened with {subprotocol:?}"),
        Err(Error::Protocol(_) | Error::ConnectionFailed(_) | Error::AuthenticationFailed(_)) => {}
        Err(Error::Timeout) => assert!(!case.ends, "it waits for nobody"),
        Err(error) => panic!("{error}"),
    }
}
