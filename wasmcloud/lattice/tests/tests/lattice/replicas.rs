//! Several processes serve one provider.

use crate::calls::lattice;
use lattice_tests::{
    Answer, Ask, COMPONENT, Caller, Echo, Failure, Message, PROVIDER, Probe, State, kill, who_dialled,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_takes_its_connections_with_it_and_new_ones_work() {
    let lattice = lattice(2).await;
    let mut echo = Echo::start().await;
    let caller = Caller::new(&lattice, PROVIDER, COMPONENT, "default").await;
    let handle = caller.connect(&echo.url()).await;
    let killed = who_dialled(echo.address, echo.event().await.0);
    let mut probe = Probe::start(&lattice).await;
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    // NATS gives a call to any of the two.
    while lost.len() < 3 || kept.len() < 3 {
        let connection = probe.connect(&echo.url()).await.unwrap();
        let of_killed = who_dialled(echo.address, echo.event().await.0) == killed;
        if of_killed { lost.push(connection) } else { kept.push(connection) }
    }

    // No call is under way now.
    kill(killed);
    // As long as NATS knows nothing of it, that replica is given calls.
    lattice.gone(&handle).await;
    for connection in lost {
        let sent = probe.send(connection, Message::Text("lost".into())).await;
        assert_eq!(sent, Err(Failure::ConnectionClosed));
        assert_eq!(probe.receive(connection).await, Err(Failure::ConnectionClosed));
        assert_eq!(probe.ask(&Ask::State(connection)).await, Answer::State(State::Closed));
    }
    for connection in kept {
        let text = Message::Text(format!("kept {connection}"));
        probe.send(connection, text.clone()).await.unwrap();
        assert_eq!(probe.receive(connection).await, Ok(text));
    }
    for _ in 0..4 {
        let connection = probe.connect(&echo.url()).await.unwrap();
        let text = Message::Text("after".into());
        probe.send(connection, text.clone()).await.unwrap();
        assert_eq!(probe.receive(connection).await, Ok(text));
    }
    probe.end().await;
}
