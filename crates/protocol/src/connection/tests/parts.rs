//! Messages in pieces and frames: the rows of the table that they have, backpressure, and how they are cut short.

use super::*;
use crate::{
    InvalidMessage,
    message::{Claim, MessageKind},
};

/// A server's connection with streams that reads ahead at most so many bytes.
fn streaming(inbound_buffer: usize) -> Connection {
    let mut config = Config::new(Role::Server);
    (config.streams, config.inbound_buffer) = (true, inbound_buffer);
    Connection::new(config, Box::new(|| [0; 4]), now())
}

fn streaming_in_phase(phase: Name) -> Connection {
    bring_to(streaming(1 << 20), phase)
}

fn frame(opcode: Opcode, is_final: bool, payload: &[u8]) -> Frame {
    Frame { opcode, is_final, payload: Bytes::copy_from_slice(payload) }
}

/// A client's frame, masked with zeros.
fn fragment(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    FrameWriter::new(Role::Client, Box::new(|| [0; 4])).frame(opcode, is_final, payload, &mut bytes);
    bytes.to_vec()
}

fn arrive_in_part(connection: &mut Connection, opcode: Opcode, is_final: bool, payload: &[u8]) {
    connection.receive_bytes(&fragment(opcode, is_final, payload), now());
}

/// Acts as a driver does: reading goes on when a call has asked for that.
fn drive(connection: &mut Connection) {
    if connection.take_changes().driver {
        connection.resume(now());
    }
}

fn frames_written(connection: &mut Connection) -> Vec<Frame> {
    let mut bytes = BytesMut::from(connection.transmit());
    connection.transmitted(bytes.len());
    connection.flushed();
    let mut frames = FrameReader::new(Role::Client, usize::MAX);
    std::iter::from_fn(|| frames.next_frame(&mut bytes).unwrap()).collect()
}

fn piece(data: &[u8], is_last: bool) -> Piece {
    Piece { data: Bytes::copy_from_slice(data), is_last }
}

fn next_piece(connection: &mut Connection) -> Option<Piece> {
    match connection.receive_piece() {
        Poll::Ready(Ok(piece)) => Some(piece),
        Poll::Pending => None,
        Poll::Ready(Err(error)) => panic!("{error}"),
    }
}

fn begin(connection: &mut Connection) -> Option<MessageKind> {
    match connection.receive_stream() {
        Poll::Ready(Ok(kind)) => kind,
        other => panic!("{other:?}"),
    }
}

fn next_frame(connection: &mut Connection) -> Option<Frame> {
    match connection.receive_frame() {
        Poll::Ready(Ok(frame)) => Some(frame),
        Poll::Pending => None,
        Poll::Ready(Err(error)) => panic!("{error}"),
    }
}

fn next_message(connection: &mut Connection) -> Option<Message> {
    match connection.receive() {
        Poll::Ready(Ok(message)) => Some(message),
        Poll::Pending => None,
        Poll::Ready(Err(error)) => panic!("{error}"),
    }
}

#[test]
fn a_data_message_arrives_in_fragments() {
    let connections = each_phase_of(
        streaming_in_phase,
        |connection| {
            arrive_in_part(connection, Opcode::Text, false, b"he");
            arrive_in_part(connection, Opcode::Continuation, true, b"llo");
        },
        PHASES.map(|phase| (phase, nothing())),
    );
    let expected = [1, 0, 1, 1, 0, 0];
    for (mut connection, expected) in connections.into_iter().zip(expected) {
        assert_eq!(received(&mut connection), vec![Message::Text("hello".into()); expected]);
        assert_eq!(connection.stats().received.messages, expected as u64 + u64::from(name(&connection) == Grace));
    }
}

#[test]
fn the_application_sends_in_parts() {
    let frames = |phase| if matches!(phase, Open | Grace) { vec![(Opcode::Text, b"hi".to_vec())] } else { nothing() };
    let mut outcomes = Vec::new();
    each_phase(
        |connection| {
            let begun = connection.send_stream(MessageKind::Text);
            outcomes.push(match begun {
                Poll::Ready(Ok(())) => connection.send_piece(b"hi", true).map_ok(|(_, sent)| sent),
                _ => begun.map_ok(|()| Sent::Batched),
            });
        },
        PHASES.map(|phase| (phase, frames(phase))),
    );
    each_phase(
        |connection| outcomes.push(connection.send_frame(&frame(Opcode::Text, true, b"hi"), now())),
        PHASES.map(|phase| (phase, frames(phase))),
    );
    for outcomes in outcomes.chunks(6) {
        assert!(matches!(
            outcomes,
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
}

#[test]
fn the_application_gives_up_a_message_that_it_has_begun_to_send() {
    let cut_short = || (Opcode::Close, [&1011u16.to_be_bytes()[..], b"a message was cut short"].concat());
    for phase in PHASES {
        let mut connection = connection(Role::Server);
        assert!(connection.send_stream(MessageKind::Binary).is_ready());
        assert!(connection.send_piece(b"begun", false).is_ready());
        let mut connection = bring_to(connection, phase);
        connection.cancel_send(now());
        let (next, frames) = match phase {
            Open => (CloseSent, vec![cut_short()]),
            Grace => (Ending, vec![cut_short()]),
            _ => (phase, nothing()),
        };
        assert_eq!((name(&connection), written(&mut connection)), (next, frames), "from {phase:?}");
    }
    // Nothing of it was sent: other messages may be.
    let mut connection = connection(Role::Server);
    assert!(connection.send_stream(MessageKind::Binary).is_ready());
    assert!(connection.send(MessageRef::Text("waits")).is_pending());
    connection.cancel_send(now());
    assert!(connection.take_changes().callers);
    assert!(connection.send(MessageRef::Text("goes")).is_ready());
    assert_eq!(written(&mut connection), [(Opcode::Text, b"goes".to_vec())]);
}

#[test]
fn the_application_receives_in_parts_with_nothing_unread() {
    let next = || {
        [
            (Open, nothing()),
            (Ending, vec![close_frame(1002)]),
            (ReadOnly, nothing()),
            (CloseSent, nothing()),
            (Ending, nothing()),
            (Closed, nothing()),
        ]
    };
    let mut outcomes = Vec::new();
    each_phase_of(
        streaming_in_phase,
        |connection| {
            received(connection);
            outcomes.push(connection.receive_stream().map_ok(|_| ()));
        },
        next(),
    );
    each_phase_of(
        streaming_in_phase,
        |connection| {
            received(connection);
            outcomes.push(connection.receive_frame().map_ok(|_| ()));
        },
        next(),
    );
    for outcomes in outcomes.chunks(6) {
        assert!(matches!(
            outcomes,
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
    // The same within a message whose beginning was taken.
    for phase in PHASES {
        let mut connection = streaming(1 << 20);
        arrive_in_part(&mut connection, Opcode::Binary, false, b"begun");
        assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
        assert_eq!(next_piece(&mut connection), Some(piece(b"begun", false)));
        match phase {
            Open => assert_eq!(next_piece(&mut connection), None),
            Grace => {
                arrive_in_part(&mut connection, Opcode::Continuation, false, b"unread");
                connection.receive_bytes(&VIOLATION, now());
                assert_eq!(name(&connection), Grace);
                assert_eq!(next_piece(&mut connection), Some(piece(b"unread", false)));
                let failed = connection.receive_piece();
                assert!(matches!(failed, Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_))))));
                assert_eq!((name(&connection), written(&mut connection)), (Ending, vec![close_frame(1002)]));
            }
            ReadOnly => {
                connection.write_failed(broken(), now());
                assert_eq!(next_piece(&mut connection), None);
            }
            CloseSent => {
                connection.close(Some(&CLOSE), now());
                assert_eq!(next_piece(&mut connection), None);
            }
            Ending => {
                arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
                assert!(matches!(connection.receive_piece(), Poll::Ready(Err(ReceiveError::Closed))));
                assert_eq!(next_message(&mut connection), Some(Message::Close(CLOSE)));
            }
            Closed => {
                connection.abort();
                let failed = connection.receive_piece();
                assert!(matches!(failed, Poll::Ready(Err(ReceiveError::Failed(Failure::Aborted)))));
                assert!(matches!(connection.receive_piece(), Poll::Ready(Err(ReceiveError::Closed))));
            }
        }
    }
}

#[test]
fn a_received_message_of_any_size_passes_in_bounded_memory() {
    let mut connection = streaming(1 << 20);
    connection.receive_bytes(&[0x82, 0xFF, 0, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0], now());
    assert!(connection.read_buffer().is_none(), "more than a whole message may have is announced");
    assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
    drive(&mut connection);
    // 10 GiB, of which 64 MiB are read here.
    let chunk = vec![7; 64 << 10];
    let mut taken = 0;
    for number in 0..1024 {
        while connection.read_buffer().is_none() {
            taken += next_piece(&mut connection).unwrap().data.len();
            drive(&mut connection);
        }
        connection.receive_bytes(&chunk, now());
        assert!(connection.buffered() <= STREAM_BUFFER + 4 * MAX_READ, "{number}: {}", connection.buffered());
    }
    while let Some(piece) = next_piece(&mut connection) {
        taken += piece.data.len();
        drive(&mut connection);
    }
    assert_eq!(taken, 64 << 20);
    // Fragments do not hold more.
    let mut connection = streaming(1 << 20);
    arrive_in_part(&mut connection, Opcode::Binary, false, b"");
    while connection.read_buffer().is_some() {
        arrive_in_part(&mut connection, Opcode::Continuation, false, &chunk);
        assert!(connection.buffered() <= STREAM_BUFFER + 4 * MAX_READ, "{}", connection.buffered());
    }
    assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
    assert!(next_piece(&mut connection).is_some());
}

#[test]
fn what_is_read_ahead_of_a_message_is_bounded_whatever_the_size_of_its_fragments() {
    for size in [1000, STREAM_BUFFER / 2, STREAM_BUFFER - 1, STREAM_BUFFER, 1 << 20] {
        let mut connection = streaming(1 << 20);
        let wire = fragment(Opcode::Binary, false, &vec![7; size]);
        let next = fragment(Opcode::Continuation, false, &vec![7; size]);
        let mut wire = [&wire[..], &next.repeat((2 << 20) / size)].concat();
        while connection.read_buffer().is_some() {
            let rest = wire.split_off(MAX_READ);
            connection.receive_bytes(&std::mem::replace(&mut wire, rest), now());
        }
        let held = connection.inbox.bytes() + connection.reader.held() + connection.input.len();
        assert!((STREAM_BUFFER..=2 * STREAM_BUFFER + MAX_READ).contains(&held), "{size}: {held}");
    }
}

#[test]
fn a_large_message_is_received_whole_by_a_call_that_asks_for_it() {
    for waits in [false, true] {
        let mut connection = streaming(8);
        if waits {
            assert_eq!(next_message(&mut connection), None);
        }
        connection.receive_bytes(&fragment(Opcode::Text, false, b"1234"), now());
        connection.receive_bytes(&fragment(Opcode::Continuation, true, &[b'5'; 100])[..50], now());
        connection.receive_bytes(&fragment(Opcode::Continuation, true, &[b'5'; 100])[50..], now());
        assert!(connection.read_buffer().is_none(), "reading pauses");
        assert!(connection.take_changes().callers, "a call may ask for it");
        assert_eq!(next_message(&mut connection), None);
        assert!(connection.take_changes().driver, "reading goes on");
        connection.resume(now());
        assert!(connection.take_changes().callers);
        assert_eq!(next_message(&mut connection), Some(Message::Text(format!("1234{}", "5".repeat(100)))));
        assert_eq!(connection.stats().received, Traffic { messages: 1, bytes: 104 });
    }
}

#[test]
fn a_stopped_message_is_reported_once() {
    let mut connection = streaming(8);
    connection.receive_bytes(&fragment(Opcode::Binary, true, &[7; 100])[..50], now());
    assert!(connection.read_buffer().is_none(), "reading pauses");
    assert!(connection.take_changes().callers);
    connection.resume(now());
    assert_eq!(connection.take_changes(), Changes::default());
    assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
    drive(&mut connection);
    connection.take_changes();
    connection.resume(now());
    assert_eq!(connection.take_changes(), Changes::default());
    assert!(next_piece(&mut connection).is_some());
    drive(&mut connection);
    assert!(!connection.take_changes().callers, "nothing more has arrived");
    connection.receive_bytes(&[7; 20], now());
    assert!(connection.take_changes().callers);
}

#[test]
fn empty_fragments_without_end_let_others_have_their_turn() {
    let mut connection = connection(Role::Server);
    let fragments = fragment(Opcode::Continuation, false, b"").repeat(2000);
    arrive_in_part(&mut connection, Opcode::Binary, false, b"");
    connection.receive_bytes(&fragments, now());
    for _ in 0..3 {
        assert!(connection.wants_resume() && connection.read_buffer().is_none());
        connection.resume(now());
    }
    assert!(!connection.wants_resume() && connection.read_buffer().is_some());
    arrive_in_part(&mut connection, Opcode::Continuation, true, b"end");
    assert_eq!(next_message(&mut connection), Some(Message::Binary("end".into())));
}

#[test]
fn the_limit_for_messages_concerns_a_call_that_receives_one_whole() {
    let over = || {
        let mut config = Config::new(Role::Server);
        (config.streams, config.max_message_size, config.max_stream_size) = (true, 4, 8);
        Connection::new(config, Box::new(|| [0; 4]), now())
    };
    let too_large = |size, limit| Some(Event::Violated(Violation::TooLarge { size, limit }));
    let mut connection = over();
    arrive(&mut connection, Opcode::Binary, b"12345");
    assert_eq!((name(&connection), connection.poll_event()), (Open, None));
    assert_eq!(next_message(&mut connection), None);
    drive(&mut connection);
    assert_eq!(connection.poll_event(), too_large(5, 4));
    assert_eq!(written(&mut connection), [close_frame(1009)]);
    let mut connection = over();
    arrive(&mut connection, Opcode::Binary, b"12345");
    assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
    drive(&mut connection);
    assert_eq!(next_piece(&mut connection), Some(piece(b"12345", true)));
    arrive(&mut connection, Opcode::Binary, b"123456789");
    assert_eq!(begin(&mut connection), Some(MessageKind::Binary));
    drive(&mut connection);
    assert_eq!(connection.poll_event(), too_large(9, 8));
    assert!(matches!(connection.receive_piece(), Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_))))));
    // A frame is held as a whole, like a message.
    let mut connection = over();
    arrive(&mut connection, Opcode::Binary, b"12345");
    assert_eq!(next_frame(&mut connection), None);
    drive(&mut connection);
    assert_eq!(connection.poll_event(), too_large(5, 4));
    let mut connection = over();
    arrive_in_part(&mut connection, Opcode::Binary, false, b"1234");
    arrive_in_part(&mut connection, Opcode::Continuation, true, b"5678");
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Binary, false, b"1234")));
    assert_eq!(next_frame(&mut connection), None);
    drive(&mut connection);
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Continuation, true, b"5678")));
}

#[test]
fn calls_take_what_comes_next_in_one_order() {
    let mut connection = streaming(1 << 20);
    for text in [b"one", b"two", b"six"] {
        arrive(&mut connection, Opcode::Text, text);
        arrive(&mut connection, Opcode::Ping, b"");
    }
    arrive_in_part(&mut connection, Opcode::Text, false, b"four");
    assert_eq!(next_message(&mut connection), Some(Message::Text("one".into())));
    assert_eq!(begin(&mut connection), Some(MessageKind::Text));
    assert_eq!((next_message(&mut connection), next_frame(&mut connection)), (None, None));
    assert!(connection.receive_stream().is_pending());
    connection.take_changes();
    assert_eq!(next_piece(&mut connection), Some(piece(b"two", true)));
    assert!(connection.take_changes().callers, "others wait for the end of a message");
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Ping, true, b"")));
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Text, true, b"six")));
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Ping, true, b"")));
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Text, false, b"four")));
    assert!(connection.receive_stream().is_pending());
    assert_eq!(next_message(&mut connection), None);
    arrive_in_part(&mut connection, Opcode::Continuation, true, b"");
    connection.take_changes();
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Continuation, true, b"")));
    assert!(connection.take_changes().callers);
    arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(begin(&mut connection), None);
    assert!(matches!(connection.receive_stream(), Poll::Ready(Err(ReceiveError::Closed))));
}

#[test]
fn every_frame_is_received_as_it_was_on_the_wire() {
    let mut connection = streaming(1 << 20);
    let frames = [
        frame(Opcode::Text, false, "é".as_bytes().split_at(1).0),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Continuation, true, "é".as_bytes().split_at(1).1),
        frame(Opcode::Pong, true, b""),
        frame(Opcode::Binary, true, b"b"),
        frame(Opcode::Close, true, b""),
    ];
    for frame in &frames {
        arrive_in_part(&mut connection, frame.opcode, frame.is_final, &frame.payload);
    }
    let received: Vec<_> = std::iter::repeat_with(|| next_frame(&mut connection)).take(7).flatten().collect();
    assert_eq!(received, frames);
    assert!(matches!(connection.receive_frame(), Poll::Ready(Err(ReceiveError::Closed))));
    assert_eq!(written(&mut connection), [(Opcode::Pong, b"p".to_vec()), (Opcode::Close, Vec::new())]);
    assert_eq!(connection.stats().received, Traffic { messages: 2, bytes: 3 });
}

#[test]
fn a_frame_larger_than_what_is_read_ahead_is_received_by_a_call_that_asks_for_it() {
    let mut connection = streaming(8);
    let wire = fragment(Opcode::Binary, false, &[7; 100]);
    connection.receive_bytes(&wire[..50], now());
    assert!(connection.read_buffer().is_none());
    assert_eq!(next_frame(&mut connection), None);
    drive(&mut connection);
    connection.receive_bytes(&wire[50..], now());
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Binary, false, &[7; 100])));
    // The next one has to be asked for again.
    connection.receive_bytes(&fragment(Opcode::Continuation, true, &[7; 100])[..50], now());
    assert!(connection.read_buffer().is_none());
}

#[test]
fn a_stream_that_is_dropped_discards_the_rest_of_its_message_and_nothing_else() {
    // How much of the message has arrived when it is dropped: nothing, a part of a frame, a fragment, everything.
    let wire = [fragment(Opcode::Text, false, b"first"), fragment(Opcode::Continuation, true, &[0xFF; 200])].concat();
    let ping = fragment(Opcode::Ping, true, b"p");
    for taken in [0, 1] {
        for arrived in [6, 8, 11, 17, 100, wire.len()] {
            let mut connection = streaming(1 << 20);
            connection.receive_bytes(&wire[..arrived], now());
            if name(&connection) != Open {
                // Text is checked unless it is discarded.
                assert!(arrived > 17);
                continue;
            }
            assert_eq!(begin(&mut connection), Some(MessageKind::Text));
            (0..taken).for_each(|_| drop(connection.receive_piece()));
            connection.discard_stream();
            assert!(connection.take_changes().callers);
            assert_eq!(next_message(&mut connection), None);
            connection
                .receive_bytes(&[&wire[arrived..], &ping, &fragment(Opcode::Text, true, b"next")].concat(), now());
            assert_eq!(next_message(&mut connection), Some(Message::Ping("p".into())));
            assert_eq!(next_message(&mut connection), Some(Message::Text("next".into())));
            assert_eq!(connection.stats().received, Traffic { messages: 2, bytes: 209 });
            assert_eq!(connection.reader.claimed(), None);
        }
    }
    // One that is there to its end.
    let mut connection = streaming(1 << 20);
    arrive_in_part(&mut connection, Opcode::Text, false, b"first");
    arrive_in_part(&mut connection, Opcode::Continuation, true, b"second");
    arrive(&mut connection, Opcode::Text, b"next");
    begin(&mut connection);
    connection.discard_stream();
    assert_eq!(next_message(&mut connection), Some(Message::Text("next".into())));
}

#[test]
fn reading_goes_on_when_a_stopped_message_is_discarded() {
    let mut connection = streaming(8);
    connection.receive_bytes(&fragment(Opcode::Binary, true, &[7; 100])[..50], now());
    assert!(connection.read_buffer().is_none());
    begin(&mut connection);
    connection.discard_stream();
    assert!(connection.take_changes().driver);
    connection.resume(now());
    assert!(connection.read_buffer().is_some() && connection.buffered() < 2 * MIN_READ);
}

#[test]
fn text_that_is_not_utf8_ends_the_stream_and_the_connection() {
    let mut connection = streaming(1 << 20);
    connection.receive_bytes(&fragment(Opcode::Text, true, b"abc\xFFdef")[..8], now());
    assert_eq!(begin(&mut connection), Some(MessageKind::Text));
    assert_eq!(next_piece(&mut connection), Some(piece(b"ab", false)));
    connection.receive_bytes(b"c\xFF", now());
    assert!(matches!(
        connection.receive_piece(),
        Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(Violation::Utf8))))
    ));
    assert_eq!(written(&mut connection), [close_frame(1007)]);
}

#[test]
fn an_abandoned_connection_discards_what_nobody_claims() {
    let mut connection = streaming(8);
    connection.receive_bytes(&fragment(Opcode::Binary, true, &[7; 100])[..50], now());
    assert!(connection.read_buffer().is_none());
    begin(&mut connection);
    connection.take_changes();
    connection.abandon(&CLOSE, now());
    assert!(connection.take_changes().callers);
    assert!(matches!(connection.receive_piece(), Poll::Ready(Err(ReceiveError::Closed))));
    connection.resume(now());
    connection.receive_bytes(&fragment(Opcode::Binary, true, &[7; 100])[50..], now());
    arrive(&mut connection, Opcode::Binary, &[7; 100]);
    arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(connection.closure().outcome, Some(Outcome::Clean));
}

#[test]
fn unread_pieces_are_a_sign_of_life() {
    let mut connection = streaming(8);
    connection.receive_bytes(&fragment(Opcode::Binary, true, &[7; 100])[..50], now());
    connection.handle_timeout(at(INTERVAL));
    assert_eq!((written(&mut connection), connection.poll_timeout()), (nothing(), Some(at(2 * INTERVAL))));
}

#[test]
fn pieces_are_sent_as_fragments_with_control_frames_between_them() {
    let mut connection = streaming(1 << 20);
    assert!(matches!(connection.send_stream(MessageKind::Text), Poll::Ready(Ok(()))));
    assert!(matches!(connection.send_piece("aé".as_bytes().split_at(2).0, false), Poll::Ready(Ok((2, Sent::Now)))));
    assert!(connection.send_stream(MessageKind::Text).is_pending());
    assert!(connection.send(MessageRef::Text("waits")).is_pending());
    assert!(connection.send_frame(&frame(Opcode::Text, true, b"waits"), now()).is_pending());
    arrive(&mut connection, Opcode::Ping, b"p");
    assert!(connection.send(MessageRef::Ping(b"q")).is_ready());
    assert!(matches!(connection.send_piece(b"", false), Poll::Ready(Ok((0, _)))));
    connection.flush();
    connection.take_changes();
    assert!(matches!(connection.send_piece("é".as_bytes().split_at(1).1, true), Poll::Ready(Ok((1, _)))));
    assert!(connection.take_changes().callers, "others may send");
    connection.flush();
    assert_eq!(
        frames_written(&mut connection),
        [
            frame(Opcode::Text, false, "aé".as_bytes().split_at(2).0),
            frame(Opcode::Pong, true, b"p"),
            frame(Opcode::Ping, true, b"q"),
            frame(Opcode::Continuation, true, "é".as_bytes().split_at(1).1),
        ]
    );
    assert_eq!(connection.stats().sent, Traffic { messages: 1, bytes: 3 });
    assert!(matches!(connection.send_piece(b"late", true), Poll::Ready(Err(SendError::Closed))));
    assert!(connection.send(MessageRef::Text("goes")).is_ready());
}

#[test]
fn a_piece_is_one_fragment_and_waits_while_the_output_is_full() {
    for fragment_size in [usize::MAX, 100] {
        let mut config = Config::new(Role::Server);
        config.fragment_size = fragment_size;
        let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
        assert!(connection.send_stream(MessageKind::Binary).is_ready());
        let large = vec![7; 1 << 20];
        let (mut rest, mut waits) = (&large[..], 0);
        while !rest.is_empty() {
            match connection.send_piece(rest, true) {
                Poll::Ready(Ok((count, _))) => {
                    assert_eq!(count, rest.len().min(fragment_size.min(STREAM_FRAGMENT)));
                    rest = &rest[count..];
                }
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => {
                    waits += 1;
                    assert!(connection.transmit().len() < OUTPUT_BOUND + STREAM_FRAGMENT);
                    connection.take_changes();
                    connection.transmitted(connection.transmit().len());
                    assert!(connection.take_changes().callers);
                }
            }
        }
        assert!(waits >= 15, "{waits}");
        assert_eq!(connection.stats().sent, Traffic { messages: 1, bytes: 1 << 20 });
    }
}

#[test]
fn pieces_are_checked() {
    let mut config = Config::new(Role::Server);
    config.max_stream_size = 8;
    let begin = |kind| {
        let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
        assert!(connection.send_stream(kind).is_ready());
        connection
    };
    let invalid = |outcome: Poll<Result<(usize, Sent), SendError>>| match outcome {
        Poll::Ready(Err(SendError::Invalid(invalid))) => invalid,
        other => panic!("{other:?}"),
    };
    let mut connection = begin(MessageKind::Text);
    assert_eq!(invalid(connection.send_piece(b"\xFF", false)), InvalidMessage::Utf8);
    assert!(connection.send_piece(b"\xC3", false).is_ready());
    assert_eq!(invalid(connection.send_piece(b"", true)), InvalidMessage::Utf8);
    let mut connection = begin(MessageKind::Binary);
    assert!(connection.send_piece(b"12345678", false).is_ready());
    let too_large = InvalidMessage::TooLarge { size: 9, limit: 8 };
    assert_eq!(invalid(connection.send_piece(b"9", true)), too_large);
    assert!(connection.send_piece(b"", true).is_ready());
}

#[test]
fn sent_frames_are_checked_as_a_sequence() {
    use Opcode::{Binary, Close, Continuation, Ping, Text};
    let long = [0; 126];
    for (before, next, expected) in [
        (&[][..], frame(Continuation, true, b""), InvalidMessage::StrayContinuation),
        (&[frame(Text, true, b"")], frame(Continuation, true, b""), InvalidMessage::StrayContinuation),
        (&[frame(Text, false, b"")], frame(Text, true, b""), InvalidMessage::NestedMessage),
        (&[frame(Text, false, b""), frame(Ping, true, b"")], frame(Binary, true, b""), InvalidMessage::NestedMessage),
        (&[frame(Text, false, b"\xC3")], frame(Continuation, false, b"\x28"), InvalidMessage::Utf8),
        (&[frame(Text, false, b"\xC3")], frame(Continuation, true, b""), InvalidMessage::Utf8),
        (&[], frame(Text, true, b"\xFF"), InvalidMessage::Utf8),
        (&[], frame(Ping, false, b""), InvalidMessage::FragmentedControl),
        (&[], frame(Ping, true, &long), InvalidMessage::LongControl(126)),
        (&[], frame(Close, true, &long), InvalidMessage::LongControl(126)),
        (&[], frame(Close, true, b"1"), InvalidMessage::ClosePayload),
        (&[], frame(Close, true, &[3, 0xE8, 0xFF]), InvalidMessage::ClosePayload),
        (&[], frame(Close, true, &1005u16.to_be_bytes()), InvalidMessage::CloseCode(1005)),
        (&[], frame(Binary, true, &[0; 1000]), InvalidMessage::FrameTooLarge { size: 1000, limit: 999 }),
        (&[], frame(Binary, true, &[0; 2000]), InvalidMessage::TooLarge { size: 2000, limit: 1500 }),
    ] {
        let mut config = Config::new(Role::Server);
        (config.max_frame_size, config.max_message_size) = (999, 1500);
        let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
        for frame in before {
            assert!(matches!(connection.send_frame(frame, now()), Poll::Ready(Ok(_))), "{frame:?}");
        }
        match connection.send_frame(&next, now()) {
            Poll::Ready(Err(SendError::Invalid(invalid))) => assert_eq!(invalid, expected, "{next:?}"),
            other => panic!("{next:?} was sent: {other:?}"),
        }
        connection.flush();
        assert_eq!(frames_written(&mut connection), before, "{next:?}");
    }
}

#[test]
fn frames_are_sent_as_they_are() {
    let mut config = Config::new(Role::Server);
    config.fragment_size = 2;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    let frames = [
        frame(Opcode::Text, false, b"\xC3"),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Continuation, true, b"\xA9four"),
        frame(Opcode::Pong, true, b""),
        frame(Opcode::Binary, true, b""),
        frame(Opcode::Binary, false, b""),
        frame(Opcode::Close, true, &1000u16.to_be_bytes()),
    ];
    for frame in &frames {
        if frame.opcode == Opcode::Continuation {
            assert!(connection.send(MessageRef::Text("waits")).is_pending());
            assert!(connection.send_stream(MessageKind::Text).is_pending());
        }
        assert!(matches!(connection.send_frame(frame, now()), Poll::Ready(Ok(_))));
    }
    assert_eq!(frames_written(&mut connection), frames);
    assert_eq!(name(&connection), CloseSent);
    let closed = connection.send_frame(&frame(Opcode::Continuation, true, b""), now());
    assert!(matches!(closed, Poll::Ready(Err(SendError::Closed))));
    assert_eq!(connection.stats().sent, Traffic { messages: 2, bytes: 6 });
}

#[test]
fn control_frames_go_between_the_fragments_of_a_large_message() {
    let mut config = Config::new(Role::Server);
    config.fragment_size = 1000;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    let large: Vec<u8> = (0..1 << 20).map(|number| number as u8).collect();
    assert!(matches!(connection.send(MessageRef::Binary(&large)), Poll::Ready(Ok(Sent::Now))));
    assert!(connection.transmit().len() < OUTPUT_BOUND + 2000, "the rest is queued");
    arrive(&mut connection, Opcode::Ping, b"p");
    assert!(connection.send(MessageRef::Text("waits")).is_pending());
    connection.take_changes();
    let (mut bytes, mut frames) = (BytesMut::new(), FrameReader::new(Role::Client, 1000));
    let mut taken = 0;
    while !connection.transmit().is_empty() {
        let count = connection.transmit().len().min(777);
        bytes.extend_from_slice(&connection.transmit()[..count]);
        connection.take_changes();
        connection.transmitted(count);
        assert!(!connection.take_changes().callers || connection.queued.is_empty());
        taken += 1;
        if taken == 300 {
            arrive(&mut connection, Opcode::Ping, b"q");
        }
    }
    assert!(connection.send(MessageRef::Text("goes")).is_ready());
    let frames: Vec<Frame> = std::iter::from_fn(|| frames.next_frame(&mut bytes).unwrap()).collect();
    let pongs: Vec<usize> = (0..frames.len()).filter(|at| frames[*at].opcode == Opcode::Pong).collect();
    assert!(pongs.len() == 2 && pongs[0] < 100 && pongs[1] < 400, "{pongs:?} of {}", frames.len());
    let data: Vec<u8> =
        frames.iter().filter(|frame| frame.opcode != Opcode::Pong).flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!(data, large);
}

#[test]
fn a_close_frame_follows_all_fragments_of_a_message_that_was_sent() {
    let mut config = Config::new(Role::Server);
    config.fragment_size = 1000;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    assert!(connection.send(MessageRef::Binary(&[7; 200_000])).is_ready());
    connection.close(Some(&CLOSE), now());
    let frames = frames_written(&mut connection);
    assert_eq!(frames.len(), 201);
    assert!(frames[199].is_final && frames[200].opcode == Opcode::Close);
    // A failed transport drops them.
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    assert!(connection.send(MessageRef::Binary(&[7; 200_000])).is_ready());
    connection.write_failed(broken(), now());
    assert_eq!(connection.buffered(), 0);
}

#[test]
fn a_frame_or_a_piece_that_could_not_be_written_is_reported() {
    let mut connection = connection(Role::Server);
    assert!(matches!(connection.send_frame(&frame(Opcode::Text, true, b""), now()), Poll::Ready(Ok(Sent::Now))));
    assert!(connection.confirm_part().is_ok());
    connection.write_failed(broken(), now());
    assert!(matches!(connection.confirm_part(), Err(SendError::Write(_))));
    assert!(matches!(connection.send_piece(b"", true), Poll::Ready(Err(SendError::Closed))));
}

#[test]
fn whole_messages_are_received_in_parts_without_streams() {
    let mut connection = connection(Role::Server);
    arrive_in_part(&mut connection, Opcode::Text, false, b"a");
    assert!(connection.receive_stream().is_pending());
    arrive_in_part(&mut connection, Opcode::Continuation, true, b"b");
    assert_eq!(begin(&mut connection), Some(MessageKind::Text));
    assert_eq!(next_piece(&mut connection), Some(piece(b"ab", true)));
    arrive(&mut connection, Opcode::Text, b"c");
    assert_eq!(next_frame(&mut connection), Some(frame(Opcode::Text, true, b"c")));
    assert_eq!(connection.reader.claimed(), None::<Claim>);
}
