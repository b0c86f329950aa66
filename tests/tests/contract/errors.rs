//! Every error, state and kind of message of the package reaches a guest.

use crate::{dial, listen, open_in, to};
use std::collections::BTreeSet;
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_payload, frame};
use tests::probe::{Config, Failure, Message, Probe, State, case};

/// The names of a variant's or an enum's cases in types.wit.
fn cases(kind: &str) -> BTreeSet<String> {
    let wit = include_str!("../../../wit/types.wit");
    let body = wit.split(&format!("{kind} {{")).nth(1).unwrap().split("\n    }").next().unwrap();
    let case = |line: &str| line.trim().split(['(', ',']).next().unwrap().to_owned();
    body.lines().filter(|line| !line.trim().is_empty() && !line.contains("///")).map(case).collect()
}

#[tokio::test]
async fn every_error_reaches_a_guest() {
    let mut guest = Probe::start(&["--close-timeout", "200ms"]);
    let (listener, url) = listen().await;
    let mut seen = Vec::new();
    for answer in ["HTTP/1.1 404 No\r\n\r\n", "HTTP/1.1 401 No\r\n\r\n", "SSH-2.0\r\n\r\n"] {
        let answer = async |peer: &mut Peer| peer.write(answer).await;
        seen.push(dial(&mut guest, &listener, to(&url), answer).await.0.unwrap_err());
    }
    seen.push(guest.connect(to("nowhere")).await.unwrap_err());
    let (lost, peer) = open_in(&mut guest, Config::default()).await;
    drop(peer);
    seen.push(guest.receive(lost).await.unwrap_err());
    seen.push(guest.receive(lost).await.unwrap_err());
    let (open, _peer) = open_in(&mut guest, Config::default()).await;
    seen.push(guest.send(open, Message::Ping(vec![0; 126])).await.unwrap_err());
    guest.close(open, None, None).await.unwrap();
    seen.push(guest.receive(open).await.unwrap_err());
    assert_eq!(seen.iter().map(case).collect::<BTreeSet<_>>(), cases("variant websocket-error"), "{seen:?}");
    assert_eq!(seen.len(), 8);
}

#[tokio::test]
async fn every_kind_of_message_reaches_a_guest_and_leaves_it() {
    let mut guest = Probe::start(&[]);
    let (open, mut peer) = open_in(&mut guest, Config::default()).await;
    let mut seen = BTreeSet::new();
    for (first, payload) in [
        (TEXT, b"text".to_vec()),
        (BINARY, b"bytes".to_vec()),
        (PONG, b"pong".to_vec()),
        (PING, b"ping".to_vec()),
        (CLOSE, close_payload(3000, "end")),
    ] {
        peer.write(frame(first, &payload)).await;
        let message = guest.receive(open).await.unwrap();
        seen.insert(case(&message));
        match first {
            PING => assert_eq!(peer.frame().await, (PONG, payload)),
            CLOSE => assert_eq!(peer.frame().await, (CLOSE, close_payload(3000, ""))),
            _ => {
                guest.send(open, message).await.unwrap();
                assert_eq!(peer.frame().await, (first, payload));
            }
        }
    }
    assert_eq!(seen, cases("variant message"));
    let (open, mut peer) = open_in(&mut guest, Config::default()).await;
    guest.send(open, Message::Ping(b"ping".into())).await.unwrap();
    assert_eq!(peer.frame().await, (PING, b"ping".to_vec()));
    guest.send(open, Message::Close(3000, Some("end".into()))).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(3000, "end")));
}

#[tokio::test]
async fn every_state_reaches_a_guest() {
    let mut guest = Probe::start(&[]);
    let (open, mut peer) = open_in(&mut guest, Config::default()).await;
    // `connecting` is missing: a guest has no handle before the handshake is done.
    let mut seen = BTreeSet::from(["connecting".to_owned()]);
    seen.insert(case(&guest.state(open).await));
    guest.close(open, None, None).await.unwrap();
    seen.insert(case(&guest.state(open).await));
    peer.write(frame(CLOSE, [])).await;
    drop(peer);
    guest.reaches(open, State::Closed).await;
    seen.insert(case(&guest.state(open).await));
    assert_eq!(seen, cases("enum connection-state"));
    assert!(matches!(guest.send(open, Message::Text("late".into())).await, Err(Failure::ConnectionClosed)));
}
