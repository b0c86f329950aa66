//! The closing handshake and its timeouts, in virtual time.

use super::*;

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
