//! Which buffers a connection holds.

use super::*;

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
