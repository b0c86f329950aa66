//! Messages larger than what NATS takes at a time go in pieces.

use crate::calls::ready;
use lattice_tests::{COMPONENT, Caller, Echo, Lattice, Message, PROVIDER, Probe, types};

const KIB: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_64_kib_to_1_mib_pass_both_ways() {
    // NATS's own default, and a limit that all of them exceed.
    for max_payload in [1024 * KIB, 32 * KIB] {
        let lattice = Lattice::with_max_payload(1, max_payload).await;
        ready(&lattice, &[("allow", "localhost")]).await;
        let echo = Echo::start().await;
        let mut probe = Probe::start(&lattice).await;
        let connection = probe.connect(&echo.url()).await.unwrap();
        for size in [64 * KIB, 1024 * KIB] {
            let message = Message::Binary((0..size).map(|byte| (byte % 251) as u8).collect());
            probe.send(connection, message.clone()).await.unwrap();
            assert!(
                probe.receive(connection).await.unwrap() == message,
                "{size} bytes, at most {max_payload} at a time"
            );
        }
        probe.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_meet_the_limit_to_the_byte() {
    let limit = 64 * KIB;
    let lattice = Lattice::with_max_payload(2, limit).await;
    ready(&lattice, &[("allow", "localhost")]).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let handle = caller.connect(&echo.url()).await;
    // Where the header of NATS, the handle and the message's length take their share is not said: all near it.
    for size in (limit - 300..limit + 20).step_by(7).chain([2 * limit - 1, 2 * limit, 2 * limit + 1, 1024 * KIB]) {
        let payload: Vec<_> = (0..size).map(|byte| (byte % 251) as u8).collect();
        caller.send(&handle, types::Message::Binary(payload.clone().into())).await.unwrap();
        let received = loop {
            if let Some(message) = caller.receive(&handle).await.unwrap() {
                break message;
            }
        };
        assert!(matches!(received, types::Message::Binary(back) if back == payload), "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_link_s_limit_says_which() {
    let lattice = Lattice::start(1).await;
    ready(&lattice, &[("allow", "localhost"), ("max-message-size", "64KiB")]).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let handle = caller.connect(&echo.url()).await;
    let sent = caller.send(&handle, types::Message::Binary(vec![0; 64 * KIB + 1].into())).await;
    assert!(matches!(&sent, Err(types::WebsocketError::InvalidMessage(why)) if why.contains("65536")), "{sent:?}");
    caller.send(&handle, types::Message::Binary(vec![0; 64 * KIB].into())).await.unwrap();
}
