//! What a handle is worth, and for how long.

use crate::calls::ready;
use lattice_tests::{COMPONENT, Caller, Echo, Event, Lattice, PROVIDER, types};
use std::time::Duration;
use test_peer::soon;
use types::{ConnectionState, Message, WebsocketError};

/// Calls with a handle of somebody else's, or nobody's, say what those of a closed connection do.
async fn is_worth_nothing(caller: &Caller, handle: &bytes::Bytes) {
    let sent = caller.send(handle, Message::Text("mine".into())).await;
    assert!(matches!(sent, Err(WebsocketError::ConnectionClosed)), "{sent:?}");
    let received = caller.receive(handle).await;
    assert!(matches!(received, Err(WebsocketError::ConnectionClosed)), "{received:?}");
    let closed = caller.close(handle).await;
    assert!(matches!(closed, Err(WebsocketError::ConnectionClosed)), "{closed:?}");
    let (state, url, subprotocol) = caller.describe(handle).await;
    assert!(matches!(state, ConnectionState::Closed), "{state:?}");
    assert_eq!((url.as_str(), subprotocol), ("", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_link_that_made_a_handle_can_use_it() {
    let lattice = Lattice::start(2).await;
    ready(&lattice, &[("allow", "localhost")]).await;
    lattice.link(COMPONENT, "other", &[("allow", "localhost")]).await;
    lattice.link("neighbour", "default", &[("allow", "localhost")]).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let handle = caller.connect(&echo.url()).await;

    for (component, link) in [(COMPONENT, "other"), ("neighbour", "default"), ("nobody", "default")] {
        let other = Caller::new(&lattice, PROVIDER, component, link).await;
        if component != "nobody" {
            // It has a link, and the provider knows it.
            other.connect(&echo.url()).await;
        }
        // Twice and more, so that both replicas are asked.
        for _ in 0..4 {
            is_worth_nothing(&other, &handle).await;
        }
    }
    for bit in [0, 127, 128, 255] {
        let mut forged = handle.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        is_worth_nothing(&caller, &forged.into()).await;
    }
    for wrong in [&handle[..31], &handle[..16], &[]] {
        is_worth_nothing(&caller, &bytes::Bytes::copy_from_slice(wrong)).await;
    }
    // It was nothing to the connection.
    caller.send(&handle, Message::Text("still mine".into())).await.unwrap();
    let received = caller.receive(&handle).await.unwrap();
    assert!(matches!(&received, Some(Message::Text(text)) if text == "still mine"), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_cannot_be_told_from_one_another() {
    let lattice = Lattice::start(1).await;
    ready(&lattice, &[("allow", "localhost")]).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let (one, two) = (caller.connect(&echo.url()).await, caller.connect(&echo.url()).await);
    assert_eq!((one.len(), &one[..16]), (32, &two[..16]), "16 bytes of the replica, 16 of the connection");
    let same = one[16..].iter().zip(&two[16..]).filter(|(one, two)| one == two).count();
    assert!(same < 8, "{one:x?} {two:x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let lattice = Lattice::start(1).await;
    ready(&lattice, &[("allow", "localhost"), ("idle-timeout", "1500ms"), ("receive-wait", "200ms")]).await;
    let mut echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let used = caller.connect(&echo.url()).await;
    let (user, _) = echo.event().await;
    let idle = caller.connect(&echo.url()).await;
    let (idler, _) = echo.event().await;
    assert_ne!(user, idler);
    // Calls keep the first one: for three times the limit.
    let mut ended = Vec::new();
    soon(async {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(4500) {
            assert!(matches!(caller.receive(&used).await, Ok(None)));
        }
    })
    .await;
    while let Ok(event) = echo.events.try_recv() {
        ended.push(event);
    }
    assert_eq!(ended, [(idler, Event::Closed(Some(1001)))]);
    is_worth_nothing(&caller, &idle).await;
    // Left alone, it goes as well.
    assert_eq!(echo.event().await, (user, Event::Closed(Some(1001))));
}
