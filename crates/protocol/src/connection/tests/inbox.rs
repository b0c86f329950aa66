//! Backpressure: how the inbox pauses reading, and what passes it.

use super::*;

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
