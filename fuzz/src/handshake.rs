//! What a server answers to the opening handshake, in pieces.

use arbitrary::{Arbitrary, Unstructured};
use std::{sync::LazyLock, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::Builder,
    time::timeout,
};
use tungstenite::handshake::derive_accept_key;
use websocket_connection::{ConnectConfig, Endpoint, Error, Settings};

#[derive(Debug, Arbitrary)]
struct Case {
    subprotocols: bool,
    ending: Ending,
    cut: u8,
}

/// What the server does after its answer.
#[derive(Debug, Arbitrary)]
enum Ending {
    Ends,
    Stalls,
    /// Sends this byte as long as it is taken.
    Floods(u8),
}

/// The most that may be taken of a flood: the largest head, twice as a buffer grows, and what the transport holds.
const FLOOD: usize = 3 << 16;

/// Runs one case.
pub fn handshake(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(case) = Case::arbitrary(&mut data) else { return };
    // As it is, so that seeds and the dictionary are text: `arbitrary` has a byte before each of a vector's.
    let answer = data.take_rest();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { timeout(Duration::from_secs(3600), play(case, answer)).await.expect("it ends in time") });
}

/// `ACCEPT` in an answer stands for the right key, which no fuzzer finds.
async fn play(case: Case, answer: &[u8]) {
    // It reads the certificates of the system, which takes longer than all of this.
    static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| Endpoint::new(Settings::default()).expect("good settings"));
    let offered = if case.subprotocols { vec!["chat".to_owned(), "log".to_owned()] } else { vec![] };
    let mut config = ConnectConfig::new("ws://localhost/");
    config.subprotocols.clone_from(&offered);
    let (near, mut far) = duplex(1 << 16);
    let server = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(far.read_u8().await.expect("a request comes"));
        }
        let answer = with_key(answer, &request);
        let mut is_heard = true;
        for piece in answer.chunks(usize::from(case.cut) + 1) {
            // The client may have heard enough.
            is_heard = far.write_all(piece).await.is_ok();
            if !is_heard {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut flood = 0;
        if let Ending::Floods(byte) = case.ending {
            while is_heard && far.write_all(&[byte; 4096]).await.is_ok() {
                flood += 4096;
                assert!(flood <= FLOOD, "the client takes whatever comes");
            }
        }
        // What is kept open stalls.
        (answer, (!matches!(case.ending, Ending::Ends)).then_some(far))
    };
    let (outcome, (said, _far)) = tokio::join!(ENDPOINT.handshake_over(near, config), server);
    match outcome {
        Ok((subprotocol, rest)) => {
            assert!(find(answer, ACCEPT).is_some(), "opened without the key");
            assert!(subprotocol.is_none_or(|name| offered.contains(&name)), "a subprotocol that was not offered");
            let rest = &rest[..rest.len().min(said.len())];
            let said = match case.ending {
                Ending::Floods(byte) => [&said[..], &vec![byte; rest.len()]].concat(),
                _ => said,
            };
            assert!(rest.is_empty() || find(&said, rest).is_some(), "what follows the answer is not what was sent");
        }
        Err(error @ (Error::Protocol(_) | Error::ConnectionFailed(_) | Error::AuthenticationFailed(_))) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?} steers a terminal");
        }
        Err(Error::Timeout) => assert!(matches!(case.ending, Ending::Stalls), "it waits for nobody"),
        Err(error) => panic!("{error}"),
    }
}

const ACCEPT: &[u8] = b"ACCEPT";

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The answer with the key that the request asks for in its place.
fn with_key(answer: &[u8], request: &[u8]) -> Vec<u8> {
    let Some(at) = find(answer, ACCEPT) else { return answer.to_vec() };
    const NAME: &[u8] = b"Sec-WebSocket-Key: ";
    let key = find(request, NAME).map(|at| &request[at + NAME.len()..][..24]).expect("a request has a key");
    let accept = derive_accept_key(key);
    [&answer[..at], accept.as_bytes(), &answer[at + ACCEPT.len()..]].concat()
}
