//! Output: its limit, batching, fragments, and messages that are not sent.

use super::{super::pacing::EARLY_PART, *};

#[test]
fn a_full_output_holds_back_sends_and_keeps_the_newest_pong() {
    let mut connection = connection(Role::Server);
    let large = vec![0; OUTPUT_BOUND];
    assert!(matches!(connection.send(MessageRef::Binary(&large)), Poll::Ready(Ok(Sent::Now))));
    assert!(connection.send(MessageRef::Text("waits")).is_pending());
    for number in 0..100u8 {
        arrive(&mut connection, Opcode::Ping, &[number]);
    }
    let before = connection.transmit().len();
    connection.take_changes();
    connection.transmitted(10);
    assert_eq!(connection.take_changes(), Changes::default());
    connection.transmitted(before - OUTPUT_BOUND);
    assert!(connection.take_changes().callers);
    let expected = before - 10 - (before - OUTPUT_BOUND) + 3;
    assert_eq!(connection.transmit().len(), expected, "one pong follows");
    assert_eq!(connection.transmit().last(), Some(&99));
    assert_eq!(connection.stats().pings_answered, 1);
    assert!(matches!(connection.send(MessageRef::Text("goes")), Poll::Ready(Ok(_))));
}

#[test]
fn a_batch_is_held_until_it_is_flushed_or_a_control_frame_follows() {
    let mut connection = connection(Role::Server);
    assert!(matches!(connection.send(MessageRef::Text("1")), Poll::Ready(Ok(Sent::Now))));
    written(&mut connection);
    assert!(matches!(connection.send(MessageRef::Text("2")), Poll::Ready(Ok(Sent::BatchBegun))));
    assert!(matches!(connection.send(MessageRef::Text("3")), Poll::Ready(Ok(Sent::Batched))));
    assert!(!connection.wants_write());
    connection.flush();
    assert_eq!(written(&mut connection).len(), 2);
    assert!(matches!(connection.send(MessageRef::Text("4")), Poll::Ready(Ok(Sent::BatchBegun))));
    arrive(&mut connection, Opcode::Ping, b"");
    assert_eq!(written(&mut connection).len(), 2);
}

#[test]
fn part_of_a_large_message_is_offered_before_the_rest_is_masked() {
    let mut connection = connection(Role::Server);
    let large = vec![0; 1 << 20];
    let mut offered = Vec::new();
    for (answers, early) in [(0, true), (0, false), (1, false), (2, true)] {
        (0..answers).for_each(|_| arrive(&mut connection, Opcode::Text, b""));
        let before = offered.len();
        let sent = connection.send_early(MessageRef::Binary(&large), |connection| {
            offered.push(connection.transmit().len());
            connection.transmitted(connection.transmit().len());
        });
        assert!(matches!(sent, Poll::Ready(Ok(Sent::Now))));
        assert_eq!(offered.len() > before, early);
        connection.transmitted(connection.transmit().len());
    }
    assert_eq!(offered, [EARLY_PART + 10; 2]);
}

#[test]
fn nothing_follows_the_beginning_of_a_message_that_could_not_be_written() {
    let mut connection = connection(Role::Server);
    let sent = connection.send_early(MessageRef::Binary(&[0; OUTPUT_BOUND]), |connection| {
        connection.write_failed(broken(), now());
    });
    assert!(matches!(sent, Poll::Ready(Err(SendError::Write(_)))));
    assert!(matches!(connection.send(MessageRef::Text("")), Poll::Ready(Err(SendError::Closed))), "reported once");
    assert!(connection.transmit().is_empty());
    assert_eq!(connection.stats().sent, Traffic::default());
    assert_eq!(connection.state(), State::Closing);
}

#[test]
fn a_message_larger_than_a_fragment_is_sent_in_frames_of_that_size() {
    // Whichever of the two limits is lower.
    for (fragment_size, max_frame_size) in [(4, usize::MAX), (usize::MAX, 4)] {
        let mut config = Config::new(Role::Server);
        (config.fragment_size, config.max_frame_size) = (fragment_size, max_frame_size);
        let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
        assert!(matches!(connection.send(MessageRef::Text("hello")), Poll::Ready(Ok(Sent::Now))));
        assert_eq!(connection.stats().sent, Traffic { messages: 1, bytes: 5 });
        assert_eq!(written(&mut connection), [(Opcode::Text, b"hell".to_vec()), (Opcode::Continuation, b"o".to_vec())]);
    }
}

#[test]
fn a_frame_over_its_limit_is_a_violation() {
    let mut config = Config::new(Role::Client);
    config.max_frame_size = 4;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    arrive(&mut connection, Opcode::Binary, b"1234");
    assert_eq!(received(&mut connection), [Message::Binary("1234".into())]);
    connection.receive_bytes(&[0x01, 4, b'a', b'b', b'c', b'd', 0x80, 5], now());
    assert_eq!(connection.closure().outcome, Some(Outcome::TooLarge));
    let violation = Violation::FrameTooLarge { size: 5, limit: 4 };
    assert_eq!(connection.poll_event(), Some(Event::Violated(violation)));
    assert_eq!(written(&mut connection), [close_frame(1009)]);
}

#[test]
fn a_message_that_could_not_be_written_does_not_count_as_sent() {
    let mut connection = connection(Role::Server);
    let message = MessageRef::Text("one");
    assert!(matches!(connection.send(message), Poll::Ready(Ok(Sent::Now))));
    assert!(connection.confirm(message).is_ok());
    written(&mut connection);
    connection.flush();
    assert!(matches!(connection.send(message), Poll::Ready(Ok(Sent::Now))));
    connection.write_failed(broken(), now());
    assert!(matches!(connection.confirm(message), Err(SendError::Write(_))));
    assert_eq!(connection.stats().sent, Traffic { messages: 1, bytes: 3 });
    assert!(matches!(connection.send(message), Poll::Ready(Err(SendError::Closed))));
}

#[test]
fn an_invalid_message_is_not_sent() {
    let mut connection = connection(Role::Server);
    for message in
        [MessageRef::Binary(&vec![0; (16 << 20) + 1]), MessageRef::Ping(&[0; 126]), MessageRef::Close(&CLOSE)]
    {
        assert!(matches!(connection.send(message), Poll::Ready(Err(SendError::Invalid(_)))));
    }
    assert!(connection.transmit().is_empty());
}
