//! Pings to a silent peer, in virtual time.

use super::*;

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
