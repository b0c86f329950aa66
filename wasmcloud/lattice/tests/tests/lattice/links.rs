//! Links come and go, and so do providers.

use crate::calls::{lattice, ready};
use lattice_tests::{COMPONENT, Caller, Echo, Event, Failure, Lattice, Message, PROVIDER, Probe, soon, types};
use tokio::net::TcpListener;
use types::WebsocketError;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_link_takes_its_connections_with_it_and_no_others() {
    let lattice = lattice(2).await;
    lattice.link("neighbour", "default", &[("allow", "localhost")]).await;
    lattice.replicas(2, "neighbour", "default").await;
    let mut echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let neighbour = Caller::new(&lattice, PROVIDER, "neighbour", "default").await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(caller.connect(&echo.url()).await);
        echo.event().await;
    }
    let kept = neighbour.connect(&echo.url()).await;
    echo.event().await;

    lattice.unlink(COMPONENT, "default").await;
    for _ in 0..4 {
        assert_eq!(echo.event().await.1, Event::Closed(Some(1001)));
    }
    for handle in &handles {
        let received = caller.receive(handle).await;
        assert!(matches!(received, Err(WebsocketError::ConnectionClosed)), "{received:?}");
    }
    // The other replica may learn of it later.
    let refused = soon(async {
        loop {
            match caller.try_connect(&echo.url()).await {
                Some(Err(WebsocketError::ConnectionFailed(why))) => return why,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(refused.await, "component \"probe\" has no link \"default\" with this provider");
    neighbour.send(&kept, types::Message::Text("here".into())).await.unwrap();
    let received = neighbour.receive(&kept).await;
    assert!(matches!(received, Ok(Some(_))), "{received:?}");

    // Made again, it grants what it says now.
    lattice.link(COMPONENT, "default", &[]).await;
    let refused = caller.refusal(&echo.url()).await;
    assert!(refused.contains("AuthenticationFailed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_has_its_own_rules_and_limits() {
    let lattice = lattice(1).await;
    lattice.link(COMPONENT, "narrow", &[("allow", "localhost"), ("max-connections", "1")]).await;
    lattice.link(COMPONENT, "none", &[]).await;
    let echo = Echo::start().await;
    let narrow = Caller::new(&lattice, PROVIDER, COMPONENT, "narrow").await;
    let _held = narrow.connect(&echo.url()).await;
    let over = narrow.try_connect(&echo.url()).await;
    assert!(matches!(over, Some(Err(WebsocketError::ConnectionFailed(_)))), "{over:?}");
    let default = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    for _ in 0..3 {
        default.connect(&echo.url()).await;
    }
    let none = Caller::new(&lattice, PROVIDER, COMPONENT, "none").await;
    let refused = none.refusal(&echo.url()).await;
    assert!(refused.contains("AuthenticationFailed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_with_a_mistake_says_so() {
    let lattice = Lattice::start(1).await;
    ready(&lattice, &[("allow", "localhost")]).await;
    lattice.link("neighbour", "default", &[("alow", "localhost")]).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, "neighbour", "default").await;
    let refused = caller.refusal(&echo.url()).await;
    assert!(refused.contains("the link's configuration cannot be used; the provider's log says why"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_well_and_shuts_down_with_1001() {
    let lattice = lattice(1).await;
    assert!(lattice.health().await.contains("\"healthy\":true"), "{}", lattice.health().await);
    let mut echo = Echo::start().await;
    let mut probe = Probe::start(&lattice).await;
    let connection = probe.connect(&echo.url()).await.unwrap();
    let (client, _) = echo.event().await;
    lattice.stop_provider(&lattice.hosts[0]).await;
    assert_eq!(echo.event().await, (client, Event::Closed(Some(1001))));
    // The next process has none of its handles.
    lattice.start_provider(&lattice.hosts[0]).await;
    lattice.replicas(1, COMPONENT, "default").await;
    assert_eq!(probe.send(connection, Message::Text("late".into())).await, Err(Failure::ConnectionClosed));
    probe.connect(&echo.url()).await.unwrap();
    probe.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_shuts_down_answers_the_calls_that_it_has() {
    let lattice = lattice(1).await;
    // It takes a connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let connecting = tokio::spawn(async move { caller.try_connect(&url).await });
    let _taken = soon(silent.accept()).await.unwrap();
    lattice.stop_provider(&lattice.hosts[0]).await;
    let refused = soon(connecting).await.unwrap();
    let why = "the component may open no connection any more";
    assert!(matches!(&refused, Some(Err(WebsocketError::ConnectionFailed(told))) if told == why), "{refused:?}");
}
