//! A component's calls.

use lattice_tests::{
    Answer, Ask, COMPONENT, Caller, Config, Echo, Event, Failure, Lattice, Message, PROVIDER, Probe, State,
};
use std::time::Duration;
use std::time::Instant;

/// A lattice of so many hosts, each with a replica, and the probe on the first; the probe may dial the loopback.
pub(crate) async fn lattice(hosts: usize) -> Lattice {
    let lattice = Lattice::start(hosts).await;
    ready(&lattice, &[("allow", "localhost"), ("receive-wait", "200ms")]).await;
    lattice
}

/// Starts everything on a lattice, with this configuration of the link.
pub(crate) async fn ready(lattice: &Lattice, config: &[(&str, &str)]) {
    lattice.link(COMPONENT, "default", config).await;
    for host in &lattice.hosts {
        lattice.start_provider(host).await;
    }
    lattice.start_component(&lattice.hosts[0]).await;
    lattice.replicas(lattice.hosts.len(), COMPONENT, "default").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_lose_nothing_and_none_hangs() {
    for hosts in [1, 2] {
        let lattice = lattice(hosts).await;
        let echo = Echo::start().await;
        let mut probe = Probe::start(&lattice).await;
        let connection = probe.connect(&echo.url()).await.unwrap();
        for number in 0..100 {
            let text = Message::Text(format!("message {number}"));
            probe.send(connection, text.clone()).await.unwrap();
            assert_eq!(probe.receive(connection).await.unwrap(), text);
        }
        probe.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_says_what_it_is_and_closes() {
    let lattice = lattice(1).await;
    let mut echo = Echo::start().await;
    let mut probe = Probe::start(&lattice).await;
    let connection = probe.connect(&echo.url()).await.unwrap();
    let (client, _) = echo.event().await;
    assert_eq!(probe.ask(&Ask::State(connection)).await, Answer::State(State::Open));
    assert_eq!(probe.ask(&Ask::Url(connection)).await, Answer::Text(Some(echo.url())));
    assert_eq!(probe.ask(&Ask::Subprotocol(connection)).await, Answer::Text(None));
    assert_eq!(probe.ask(&Ask::Close(connection, Some(4001), None)).await, Answer::Done(Ok(())));
    assert_eq!(echo.event().await, (client, Event::Closed(Some(4001))));
    assert!(matches!(probe.receive(connection).await, Ok(Message::Close(4001, _))));
    assert_eq!(probe.receive(connection).await, Err(Failure::ConnectionClosed));
    assert_eq!(probe.send(connection, Message::Text("late".into())).await, Err(Failure::ConnectionClosed));
    probe.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_meaning() {
    let lattice = lattice(1).await;
    let echo = Echo::start().await;
    let mut probe = Probe::start(&lattice).await;
    assert!(matches!(probe.connect("http://localhost/").await, Err(Failure::InvalidUrl(_))));
    assert!(matches!(probe.connect("ws://127.0.0.2.example:1/").await, Err(Failure::AuthenticationFailed(_))));
    let duplicate = Config { url: echo.url(), subprotocols: Some(vec!["a".into(), "a".into()]), ..Config::default() };
    let answer = probe.ask(&Ask::Connect(duplicate)).await;
    assert!(matches!(answer, Answer::Connected(Err(Failure::ProtocolError(_)))), "{answer:?}");
    let connection = probe.connect(&echo.url()).await.unwrap();
    let sent = probe.send(connection, Message::Ping(vec![0; 126])).await;
    assert!(matches!(sent, Err(Failure::InvalidMessage(_))), "{sent:?}");
    probe.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receive_waits_for_the_receive_wait() {
    let lattice = Lattice::start(1).await;
    ready(&lattice, &[("allow", "localhost"), ("receive-wait", "30s")]).await;
    let echo = Echo::start().await;
    let mut probe = Probe::start(&lattice).await;
    let connection = probe.connect(&echo.url()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(probe.ask(&Ask::Receive(connection)).await, Answer::Received(Ok(None)));
    // Half of the host's RPC timeout of two seconds is the most that it may be.
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(10), "{waited:?}");
    probe.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_the_package_are_served() {
    let lattice = lattice(1).await;
    let echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    for version in ["0.1.0-draft", "0.1.1-draft"] {
        caller.connect_by_version(version, &echo.url()).await.unwrap();
    }
}
