//! One test for each row of the table of phases and events, and virtual-time tests of keep-alive, closing, grace periods,
//! batching and backpressure.

mod compression;
mod parts;
mod waiting;

use super::{pacing::EARLY_PART, *};
use crate::{
    CloseInfo, Message, MessageRef,
    close::NO_STATUS,
    frame::{Frame, FrameReader, FrameWriter, Opcode},
};
use std::{sync::LazyLock, task::Poll};

/// The time at which every test starts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const INTERVAL: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

fn at(after: Duration) -> Instant {
    *START + after
}

fn now() -> Instant {
    *START
}

fn connection(role: Role) -> Connection {
    Connection::new(Config::new(role), Box::new(|| [0; 4]), now())
}

/// The bytes of a frame that the peer sends.
fn wire(connection: &Connection, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let role = if connection.config.role == Role::Client { Role::Server } else { Role::Client };
    let mut bytes = BytesMut::new();
    FrameWriter::new(role, Box::new(|| [0; 4])).frame(opcode, true, payload, &mut bytes);
    bytes.to_vec()
}

fn arrive_at(connection: &mut Connection, opcode: Opcode, payload: &[u8], now: Instant) {
    let bytes = wire(connection, opcode, payload);
    connection.receive_bytes(&bytes, now);
}

fn arrive(connection: &mut Connection, opcode: Opcode, payload: &[u8]) {
    arrive_at(connection, opcode, payload, now());
}

/// Writes everything, and returns its frames.
fn written(connection: &mut Connection) -> Vec<(Opcode, Vec<u8>)> {
    let role = if connection.config.role == Role::Client { Role::Server } else { Role::Client };
    let mut bytes = BytesMut::from(connection.transmit());
    connection.transmitted(bytes.len());
    connection.flushed();
    let mut frames = FrameReader::new(role, usize::MAX);
    std::iter::from_fn(|| frames.next_frame(&mut bytes).unwrap())
        .map(|Frame { opcode, payload, .. }| (opcode, payload.to_vec()))
        .collect()
}

fn close_frame(code: u16) -> (Opcode, Vec<u8>) {
    (Opcode::Close, code.to_be_bytes().to_vec())
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

const CLOSE: CloseInfo = CloseInfo { code: 1000, reason: None };
/// A frame with a reserved opcode, from either end.
const VIOLATION: [u8; 6] = [0x83, 0x80, 0, 0, 0, 0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Open,
    Grace,
    ReadOnly,
    CloseSent,
    Ending,
    Closed,
}
use Name::{CloseSent, Closed, Ending, Grace, Open, ReadOnly};

const PHASES: [Name; 6] = [Open, Grace, ReadOnly, CloseSent, Ending, Closed];

fn name(connection: &Connection) -> Name {
    match connection.phase {
        Phase::Open(_) => Open,
        Phase::Grace { .. } => Grace,
        Phase::ReadOnly { .. } => ReadOnly,
        Phase::CloseSent { .. } => CloseSent,
        Phase::Ending { .. } => Ending,
        Phase::Closed { .. } => Closed,
    }
}

/// A server's connection that has come to this phase, with everything written and every message received, but for the
/// grace period: there, one message is unread.
fn in_phase(phase: Name) -> Connection {
    bring_to(connection(Role::Server), phase)
}

fn bring_to(mut connection: Connection, phase: Name) -> Connection {
    match phase {
        Open => {}
        Grace => {
            arrive(&mut connection, Opcode::Text, b"unread");
            connection.receive_bytes(&VIOLATION, now());
        }
        ReadOnly => connection.write_failed(broken(), now()),
        CloseSent => connection.close(Some(&CLOSE), now()),
        Ending => {
            arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
            assert!(connection.try_receive().is_some());
        }
        Closed => connection.abort(),
    }
    written(&mut connection);
    if phase == Closed {
        assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::Aborted)))));
    }
    connection.take_changes();
    assert_eq!(name(&connection), phase);
    connection
}

/// A phase, and the frames that are written on the way to it.
type Next = (Name, Vec<(Opcode, Vec<u8>)>);

/// Applies `event` in each phase, and checks the phase that follows and the frames that are written.
fn each_phase(event: impl FnMut(&mut Connection), expected: [Next; 6]) -> [Connection; 6] {
    each_phase_of(in_phase, event, expected)
}

fn each_phase_of(
    in_phase: fn(Name) -> Connection,
    mut event: impl FnMut(&mut Connection),
    expected: [Next; 6],
) -> [Connection; 6] {
    let mut expected = expected.into_iter();
    PHASES.map(|phase| {
        let mut connection = in_phase(phase);
        event(&mut connection);
        let (next, frames) = expected.next().unwrap();
        assert_eq!(name(&connection), next, "from {phase:?}");
        assert_eq!(written(&mut connection), frames, "from {phase:?}");
        assert!(phase as u8 <= name(&connection) as u8, "{phase:?} went back");
        if next != phase {
            assert!(connection.take_changes().driver, "from {phase:?}: the timeout moved");
        }
        connection
    })
}

fn nothing() -> Vec<(Opcode, Vec<u8>)> {
    Vec::new()
}

/// What is received after the message that the grace period leaves unread.
fn received(connection: &mut Connection) -> Vec<Message> {
    std::iter::from_fn(|| connection.try_receive())
        .filter(|message| *message != Message::Text("unread".into()))
        .collect()
}

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

trait IsReadyAndOk {
    fn is_ready_and_ok(&self) -> bool;
}

impl IsReadyAndOk for Poll<Result<Message, ReceiveError>> {
    fn is_ready_and_ok(&self) -> bool {
        matches!(self, Poll::Ready(Ok(_) | Err(ReceiveError::Failed(_))))
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

#[test]
fn a_silent_peer_is_pinged_and_given_up_after_a_second_interval() {
    let mut connection = connection(Role::Client);
    assert_eq!(connection.poll_timeout(), Some(at(INTERVAL)));
    connection.handle_timeout(at(INTERVAL));
    assert_eq!(written(&mut connection), [(Opcode::Ping, vec![0; 8])]);
    assert_eq!(connection.poll_timeout(), Some(at(2 * INTERVAL)));
    connection.handle_timeout(at(2 * INTERVAL));
    assert_eq!(name(&connection), Closed);
    let reason = [1011u16.to_be_bytes().as_slice(), b"keep-alive timeout"].concat();
    assert_eq!(written(&mut connection), [(Opcode::Close, reason)]);
    assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::KeepAlive)))));
    assert_eq!(connection.closure().outcome, Some(Outcome::KeepAliveTimeout));
    assert_eq!(connection.closure().initiator, Some(Initiator::Protocol));
}

#[test]
fn every_byte_is_a_sign_of_life() {
    let mut connection = connection(Role::Client);
    for round in 1..100u32 {
        let time = at(INTERVAL * round);
        connection.handle_timeout(time);
        assert_eq!(written(&mut connection).len(), 1, "a ping in round {round}");
        // Half a header is enough, also in the instant of the ping.
        let byte: &[u8] = if round % 2 == 1 { &[0x82] } else { &[0x00] };
        connection.receive_bytes(byte, time);
        assert_eq!(connection.poll_timeout(), Some(time + INTERVAL));
    }
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn the_pong_of_a_keep_alive_ping_is_not_shown_and_others_are() {
    let mut connection = connection(Role::Client);
    connection.handle_timeout(at(INTERVAL));
    arrive_at(&mut connection, Opcode::Pong, &[0; 8], at(INTERVAL));
    assert_eq!(connection.try_receive(), None);
    arrive_at(&mut connection, Opcode::Pong, b"other", at(INTERVAL));
    assert_eq!(connection.try_receive(), Some(Message::Pong("other".into())));
}

#[test]
fn unread_data_is_a_sign_of_life() {
    let mut config = Config::new(Role::Client);
    config.inbound_buffer = 100;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    arrive(&mut connection, Opcode::Binary, &[0; 200]);
    arrive(&mut connection, Opcode::Binary, &[0; 200]);
    assert!(connection.read_buffer().is_none(), "reading is paused");
    for round in 1..10u32 {
        connection.handle_timeout(at(INTERVAL * round));
        assert_eq!(written(&mut connection), nothing());
    }
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn reading_resumes_when_half_of_the_inbox_was_received() {
    let mut config = Config::new(Role::Client);
    config.inbound_buffer = 4 * (100 + size_of::<Message>());
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    (0..6).for_each(|_| arrive(&mut connection, Opcode::Binary, &[0; 100]));
    assert!(connection.read_buffer().is_none());
    connection.take_changes();
    let mut resumed = Vec::new();
    for _ in 0..4 {
        assert!(connection.try_receive().is_some());
        resumed.push(connection.take_changes().driver);
    }
    assert_eq!(resumed, [false, true, true, true]);
    connection.resume(now());
    assert!(connection.read_buffer().is_some());
    assert_eq!(received(&mut connection).len(), 2, "messages that were read while paused");
}

#[test]
fn control_frames_and_the_end_are_noticed_while_the_inbox_is_full() {
    let mut config = Config::new(Role::Client);
    config.inbound_buffer = 1;
    let full = || {
        let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
        arrive(&mut connection, Opcode::Text, b"unread");
        arrive(&mut connection, Opcode::Ping, b"p");
        assert_eq!(written(&mut connection), [(Opcode::Pong, b"p".to_vec())]);
        assert!(connection.read_buffer().is_some());
        connection
    };
    let mut connection = full();
    arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(written(&mut connection), [close_frame(1000)]);
    let mut connection = full();
    connection.input_ended();
    assert_eq!(name(&connection), Closed);
    // A data message that waits for the inbox stops reading, also between its fragments.
    for (opcode, fin) in [(1u8, 0x80), (1, 0)] {
        let mut connection = full();
        connection.receive_bytes(&[opcode | fin, 5, b'h'], now());
        assert!(connection.read_buffer().is_none());
    }
}

#[test]
fn unread_pings_do_not_delay_the_answer_to_a_violation() {
    let mut connection = connection(Role::Server);
    arrive(&mut connection, Opcode::Ping, b"unread");
    written(&mut connection);
    connection.receive_bytes(&VIOLATION, now());
    assert_eq!((name(&connection), written(&mut connection)), (Ending, vec![close_frame(1002)]));
    assert_eq!(received(&mut connection), [Message::Ping("unread".into())]);
    // With unread data, every call that waits is woken: it may be within a message that was cut short.
    let mut connection = in_phase(Open);
    arrive(&mut connection, Opcode::Text, b"unread");
    connection.take_changes();
    connection.receive_bytes(&VIOLATION, now());
    assert!(name(&connection) == Grace && connection.take_changes().callers);
}

#[test]
fn messages_to_an_abandoned_connection_are_not_assembled() {
    let mut connection = connection(Role::Server);
    connection.receive_bytes(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0], now());
    connection.receive_bytes(&[7; 100_000], now());
    assert!(connection.buffered() >= 100_000);
    connection.abandon(&CLOSE, now());
    written(&mut connection);
    connection.read_blocked();
    assert_eq!(connection.buffered(), 0);
    for _ in 0..10 {
        connection.receive_bytes(&[7; 100_000], now());
        connection.resume(now());
    }
    connection.read_blocked();
    assert_eq!((name(&connection), connection.buffered()), (CloseSent, 0));
}

#[test]
fn a_flood_of_pings_lets_the_caller_have_its_turn() {
    let mut connection = connection(Role::Client);
    connection.receive_bytes(&wire(&connection, Opcode::Ping, b"").repeat(3 * CONTROL_BATCH as usize), now());
    let mut turns = 1;
    while connection.read_buffer().is_none() {
        assert!(connection.wants_resume());
        connection.resume(now());
        turns += 1;
    }
    assert!(!connection.wants_resume());
    assert_eq!(turns, 4);
    assert_eq!(connection.stats().pings_answered, 3 * u64::from(CONTROL_BATCH));
}

#[test]
fn pings_and_pongs_never_stop_reading_and_the_newest_are_kept() {
    let mut config = Config::new(Role::Client);
    config.inbound_buffer = 1;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    for number in 0..10_000u32 {
        connection.resume(now());
        arrive(&mut connection, Opcode::Ping, &number.to_be_bytes());
        assert_eq!(written(&mut connection), [(Opcode::Pong, number.to_be_bytes().to_vec())]);
    }
    assert!(connection.read_buffer().is_some());
    assert_eq!(connection.stats().pings_answered, 10_000);
    assert_eq!(connection.stats().controls_dropped, 10_000 - MAX_UNREAD_CONTROLS as u64);
    let kept = received(&mut connection);
    assert_eq!(kept.len(), MAX_UNREAD_CONTROLS);
    assert_eq!(kept.last(), Some(&Message::Ping(Bytes::copy_from_slice(&9999u32.to_be_bytes()))));
}

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

#[test]
fn a_close_timeout_ends_with_the_messages_that_had_arrived() {
    let mut config = Config::new(Role::Client);
    config.inbound_buffer = 1;
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    (0..3).for_each(|_| arrive(&mut connection, Opcode::Text, b"before"));
    connection.close(Some(&CLOSE), now());
    assert_eq!(connection.poll_timeout(), Some(at(CLOSE_TIMEOUT)));
    connection.handle_timeout(at(CLOSE_TIMEOUT));
    assert_eq!(received(&mut connection).len(), 3);
    assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Failed(Failure::CloseTimeout)))));
    // The peer's close frame may be among them.
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now());
    (0..2).for_each(|_| arrive(&mut connection, Opcode::Text, b"before"));
    connection.close(Some(&CLOSE), now());
    arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
    connection.handle_timeout(at(CLOSE_TIMEOUT));
    assert_eq!(connection.closure().outcome, Some(Outcome::Clean));
}

#[test]
fn all_steps_of_closing_share_one_time_limit() {
    let mut connection = connection(Role::Client);
    connection.close(Some(&CLOSE), now());
    arrive_at(&mut connection, Opcode::Close, &1000u16.to_be_bytes(), at(CLOSE_TIMEOUT / 2));
    assert_eq!((name(&connection), connection.poll_timeout()), (Ending, Some(at(CLOSE_TIMEOUT))));
}

#[test]
fn the_server_and_an_end_that_fails_the_connection_end_the_transport_first() {
    for (role, first) in [(Role::Server, true), (Role::Client, false)] {
        let mut connection = connection(role);
        arrive(&mut connection, Opcode::Close, &1000u16.to_be_bytes());
        written(&mut connection);
        assert_eq!(connection.wants_half_close(), first);
    }
    let mut client = connection(Role::Client);
    client.receive_bytes(&VIOLATION, now());
    assert!(client.wants_half_close());
}

#[test]
fn a_peer_that_has_closed_has_little_time_to_end_the_transport() {
    let mut server = connection(Role::Server);
    arrive(&mut server, Opcode::Close, &1000u16.to_be_bytes());
    written(&mut server);
    assert_eq!(server.poll_timeout(), Some(at(CLOSE_TIMEOUT)));
    server.half_closed(now());
    assert_eq!(server.poll_timeout(), Some(at(LINGER)));
    assert!(server.take_changes().driver, "the deadline moved");
    server.handle_timeout(at(LINGER));
    assert_eq!((name(&server), server.closure().outcome), (Closed, Some(Outcome::Clean)));
    // One that violated the protocol has yet to read why.
    let mut server = connection(Role::Server);
    server.receive_bytes(&VIOLATION, now());
    written(&mut server);
    server.half_closed(now());
    assert_eq!(server.poll_timeout(), Some(at(CLOSE_TIMEOUT)));
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut connection = connection(Role::Client);
    for _ in 0..10 {
        arrive(&mut connection, Opcode::Text, &[b'x'; 30_000]);
        connection.try_receive();
        let _ = connection.send(MessageRef::Text("answer"));
        written(&mut connection);
        connection.flush();
        connection.read_blocked();
    }
    assert_eq!(connection.buffered(), 0);
}

#[test]
fn the_size_of_reads_follows_the_traffic() {
    let mut connection = connection(Role::Client);
    let capacity = |connection: &mut Connection| connection.read_buffer().map(|buffer| buffer.get_ref().capacity());
    let small = capacity(&mut connection).unwrap();
    assert!((MIN_READ..2 * MIN_READ).contains(&small));
    connection.read_size = MIN_READ;
    let many: Vec<u8> = wire(&connection, Opcode::Text, b"hello").repeat(20_000);
    for _ in 0..4 {
        connection.receive_bytes(&many, now());
        received(&mut connection);
    }
    assert_eq!(connection.read_size, MAX_READ);
    connection.read_blocked();
    for _ in 0..4 {
        arrive(&mut connection, Opcode::Text, b"hello");
        connection.read_blocked();
    }
    assert_eq!(connection.read_size, MIN_READ);
}

#[test]
fn a_closed_connection_holds_nothing_but_what_receive_reports() {
    for phase in PHASES {
        let mut connection = in_phase(phase);
        let large = vec![0; OUTPUT_BOUND];
        let _ = connection.send(MessageRef::Binary(&large));
        arrive(&mut connection, Opcode::Ping, b"waits for the output");
        connection.receive_bytes(&[0x02, 0xFF], now());
        connection.abort();
        assert_eq!(name(&connection), Closed);
        while connection.receive().is_ready_and_ok() {}
        let Connection { pong, unflushed, is_paused, inbox, .. } = &connection;
        assert!(pong.is_none() && !unflushed && !is_paused && inbox.is_empty(), "{phase:?}");
        assert_eq!((connection.buffered(), connection.poll_timeout()), (0, None), "{phase:?}");
        assert!(connection.transmit().is_empty() && !connection.wants_write(), "{phase:?}");
        assert!(connection.take_changes().driver || phase == Closed);
        // Nothing that comes later brings it back.
        connection.write_failed(broken(), now());
        connection.input_ended();
        connection.handle_timeout(at(INTERVAL));
        connection.close(None, now());
        assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Closed))), "{phase:?}");
        assert_eq!(name(&connection), Closed);
    }
}

#[test]
fn a_server_has_a_second_to_end_the_transport_after_the_closing_handshake() {
    // Our close frame was answered, or the peer's was; the time begins when everything is written.
    for begins in [true, false] {
        let mut client = connection(Role::Client);
        if begins {
            client.close(Some(&CLOSE), now());
            written(&mut client);
        }
        arrive(&mut client, Opcode::Close, &1000u16.to_be_bytes());
        assert_eq!(client.poll_timeout(), Some(at(CLOSE_TIMEOUT)));
        assert_eq!(client.wants_linger(), begins);
        written(&mut client);
        assert!(client.wants_linger());
        client.take_changes();
        client.linger(at(LINGER));
        assert!(client.take_changes().driver && !client.wants_linger());
        assert_eq!(client.poll_timeout(), Some(at(2 * LINGER)));
        client.handle_timeout(at(2 * LINGER));
        assert_eq!((name(&client), client.closure().outcome), (Closed, Some(Outcome::Clean)));
    }
}
