//! One test for each row of the table of phases and events.

use super::*;

#[test]
fn a_data_message_arrives() {
    let connections =
        each_phase(|connection| arrive(connection, Opcode::Text, b"hello"), PHASES.map(|phase| (phase, nothing())));
    let expected = [1, 0, 1, 1, 0, 0];
    for (mut connection, expected) in connections.into_iter().zip(expected) {
        assert_eq!(received(&mut connection), vec![Message::Text("hello".into()); expected]);
    }
}

#[test]
fn a_ping_arrives() {
    let pong = vec![(Opcode::Pong, b"p".to_vec())];
    let connections = each_phase(
        |connection| arrive(connection, Opcode::Ping, b"p"),
        PHASES.map(|phase| (phase, if phase == Open { pong.clone() } else { nothing() })),
    );
    let expected = [1, 0, 1, 1, 0, 0];
    for (mut connection, expected) in connections.into_iter().zip(expected) {
        assert_eq!(received(&mut connection), vec![Message::Ping("p".into()); expected]);
    }
}

#[test]
fn the_close_frame_arrives() {
    let connections = each_phase(
        |connection| arrive(connection, Opcode::Close, &1000u16.to_be_bytes()),
        [
            (Ending, vec![close_frame(1000)]),
            (Grace, nothing()),
            (Closed, nothing()),
            (Ending, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ],
    );
    for (mut connection, phase) in connections.into_iter().zip(PHASES) {
        if matches!(phase, Open | ReadOnly | CloseSent) {
            assert_eq!(received(&mut connection), [Message::Close(CLOSE)]);
            assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Closed))));
            let outcome = if phase == ReadOnly { Outcome::Lost } else { Outcome::Clean };
            assert_eq!(connection.closure().outcome, Some(outcome));
            assert_eq!(connection.closure().received, Some(CLOSE));
        } else {
            assert!(received(&mut connection).is_empty());
        }
    }
}

#[test]
fn a_violation_arrives() {
    let connections = each_phase(
        |connection| connection.receive_bytes(&VIOLATION, now()),
        [
            (Ending, vec![close_frame(1002)]),
            (Grace, nothing()),
            (Closed, nothing()),
            (Ending, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ],
    );
    for (mut connection, phase) in connections.into_iter().zip(PHASES) {
        if matches!(phase, Open | ReadOnly | CloseSent) {
            assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_))))));
            assert_eq!(connection.closure().outcome, Some(Outcome::Violation));
            assert_eq!(connection.poll_event(), Some(Event::Violated(Violation::ReservedOpcode(3))));
        }
        while connection.receive().is_ready_and_ok() {}
        assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Closed))), "{phase:?}");
    }
}

#[test]
fn a_violation_waits_for_the_answers_to_unread_messages() {
    let mut connection = in_phase(Grace);
    assert_eq!(connection.state(), State::Open);
    assert!(connection.read_buffer().is_none());
    assert!(matches!(connection.send(MessageRef::Text("answer")), Poll::Ready(Ok(Sent::Now))));
    assert_eq!(written(&mut connection), [(Opcode::Text, b"answer".to_vec())]);
    assert!(connection.try_receive().is_some());
    assert_eq!((name(&connection), written(&mut connection)), (Grace, nothing()));
    assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_))))));
    assert_eq!((name(&connection), written(&mut connection)), (Ending, vec![close_frame(1002)]));
}

#[test]
fn the_peer_ends_its_direction() {
    let connections =
        each_phase(Connection::input_ended, [Closed, Closed, Closed, Closed, Ending, Closed].map(|to| (to, nothing())));
    let mut outcomes = connections.map(|connection| connection.closure().outcome);
    assert_eq!(
        outcomes,
        [
            Some(Outcome::Lost),
            Some(Outcome::Violation),
            Some(Outcome::Lost),
            Some(Outcome::Lost),
            Some(Outcome::Clean),
            Some(Outcome::Aborted),
        ]
    );
    outcomes.reverse();
    // The server ends its own direction first; then nothing is left.
    let mut ending = in_phase(Ending);
    ending.input_ended();
    assert!(ending.wants_half_close());
    ending.half_closed(now());
    assert_eq!(name(&ending), Closed);
}

#[test]
fn reading_fails() {
    let connections = each_phase(|connection| connection.read_failed(broken()), PHASES.map(|_| (Closed, nothing())));
    let failures = connections.map(|mut connection| {
        loop {
            match connection.receive() {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => break error,
                Poll::Pending => panic!("a closed connection does not wait"),
            }
        }
    });
    assert!(matches!(
        failures,
        [
            ReceiveError::Failed(Failure::Read { within_message: false, .. }),
            ReceiveError::Failed(Failure::Violation(_)),
            ReceiveError::Failed(Failure::Write(_)),
            ReceiveError::Failed(Failure::Read { .. }),
            ReceiveError::Closed,
            ReceiveError::Closed,
        ]
    ));
}

#[test]
fn writing_fails() {
    let connections = each_phase(
        |connection| connection.write_failed(broken(), now()),
        [ReadOnly, Closed, ReadOnly, CloseSent, Closed, Closed].map(|to| (to, nothing())),
    );
    for mut connection in connections {
        connection.read_failed(broken());
        assert_eq!(name(&connection), Closed);
    }
    // The failure that is reported is the first one.
    let mut connection = in_phase(CloseSent);
    connection.write_failed(io::Error::from(io::ErrorKind::BrokenPipe), now());
    connection.input_ended();
    assert!(
        matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::Write(error)))) if error.kind() == io::ErrorKind::BrokenPipe)
    );
}

#[test]
fn the_application_sends() {
    let text = vec![(Opcode::Text, b"hi".to_vec())];
    let mut outcomes = Vec::new();
    each_phase(
        |connection| outcomes.push(connection.send(MessageRef::Text("hi"))),
        PHASES.map(|phase| (phase, if matches!(phase, Open | Grace) { text.clone() } else { nothing() })),
    );
    assert!(matches!(
        outcomes[..],
        [
            Poll::Ready(Ok(Sent::Now)),
            Poll::Ready(Ok(Sent::Now)),
            Poll::Ready(Err(SendError::Write(_))),
            Poll::Ready(Err(SendError::Closed)),
            Poll::Ready(Err(SendError::Closed)),
            Poll::Ready(Err(SendError::Closed)),
        ]
    ));
}

#[test]
fn the_application_closes() {
    each_phase(
        |connection| connection.close(Some(&CloseInfo { code: 3000, reason: None }), now()),
        [
            (CloseSent, vec![close_frame(3000)]),
            (Ending, vec![close_frame(3000)]),
            (CloseSent, nothing()),
            (CloseSent, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ],
    );
    let mut connection = in_phase(Open);
    connection.close(None, now());
    assert_eq!(written(&mut connection), [(Opcode::Close, Vec::new())]);
    assert_eq!(connection.closure().sent, Some(CloseInfo { code: NO_STATUS, reason: None }));
}

#[test]
fn the_application_abandons_the_connection() {
    let connections = each_phase(
        |connection| connection.abandon(&CloseInfo { code: 1001, reason: None }, now()),
        [
            (CloseSent, vec![close_frame(1001)]),
            (Ending, vec![close_frame(1002)]),
            (Closed, nothing()),
            (CloseSent, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ],
    );
    for mut connection in connections {
        arrive(&mut connection, Opcode::Text, b"late");
        assert_eq!(connection.try_receive(), None);
    }
}

#[test]
fn the_application_receives_with_nothing_unread() {
    let mut outcomes = Vec::new();
    each_phase(
        |connection| {
            received(connection);
            outcomes.push(connection.receive());
        },
        [
            (Open, nothing()),
            (Ending, vec![close_frame(1002)]),
            (ReadOnly, nothing()),
            (CloseSent, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ],
    );
    assert!(matches!(
        outcomes[..],
        [
            Poll::Pending,
            Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_)))),
            Poll::Pending,
            Poll::Pending,
            Poll::Ready(Err(ReceiveError::Closed)),
            Poll::Ready(Err(ReceiveError::Closed)),
        ]
    ));
}

#[test]
fn the_timeout_passes() {
    let connections = each_phase(
        |connection| {
            if let Some(due) = connection.poll_timeout() {
                connection.handle_timeout(due - Duration::from_nanos(1));
                assert_eq!(connection.poll_timeout(), Some(due), "nothing is done before its time");
                connection.handle_timeout(due);
            }
        },
        [
            (Open, vec![(Opcode::Ping, vec![0; 8])]),
            (Ending, vec![close_frame(1002)]),
            (Closed, nothing()),
            (Closed, nothing()),
            (Closed, nothing()),
            (Closed, nothing()),
        ],
    );
    let outcomes = connections.map(|connection| connection.closure().outcome);
    assert_eq!(
        outcomes,
        [
            None,
            Some(Outcome::Violation),
            Some(Outcome::Lost),
            Some(Outcome::CloseTimeout),
            Some(Outcome::Clean),
            Some(Outcome::Aborted),
        ]
    );
}

#[test]
fn the_application_aborts() {
    let connections = each_phase(Connection::abort, PHASES.map(|_| (Closed, nothing())));
    for mut connection in connections {
        assert_eq!(connection.poll_timeout(), None);
        assert_eq!(
            connection.poll_event().map(|event| matches!(event, Event::Violated(_))),
            connection.poll_event().map(|_| true).or(Some(false))
        );
        while connection.receive().is_ready_and_ok() {}
        assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Closed))));
        assert!(connection.read_buffer().is_none() && !connection.wants_write());
    }
}
