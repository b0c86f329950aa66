//! What calls wait for other than messages: pongs, the end of writing, and how the connection ended.

use super::*;

/// Sends a ping and writes it.
fn ping(connection: &mut Connection, payload: &'static [u8], now: Instant) -> PingId {
    let Poll::Ready(Ok((id, _))) = connection.ping(&Bytes::from_static(payload), now) else { panic!("it is not sent") };
    connection.flush();
    assert_eq!(written(connection), [(Opcode::Ping, payload.to_vec())]);
    id
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn a_pong_answers_its_ping_and_those_before_it() {
    let mut connection = connection(Role::Client);
    let first = ping(&mut connection, b"1", now());
    let second = ping(&mut connection, b"2", at(milliseconds(10)));
    let third = ping(&mut connection, b"3", at(milliseconds(20)));
    connection.take_changes();
    assert!(connection.poll_pong(first).is_pending());
    arrive_at(&mut connection, Opcode::Pong, b"2", at(milliseconds(50)));
    assert!(connection.take_changes().callers);
    assert!(connection.poll_pong(third).is_pending());
    assert!(matches!(connection.poll_pong(second), Poll::Ready(Ok(time)) if time == milliseconds(40)));
    assert!(matches!(connection.poll_pong(first), Poll::Ready(Ok(time)) if time == milliseconds(50)));
    arrive_at(&mut connection, Opcode::Pong, b"3", at(milliseconds(60)));
    assert!(matches!(connection.poll_pong(third), Poll::Ready(Ok(time)) if time == milliseconds(40)));
    assert_eq!(connection.try_receive(), None, "no pong of these is a message");
}

#[test]
fn pings_with_one_payload_are_answered_in_their_order() {
    let mut connection = connection(Role::Client);
    let [first, second] = [0, 10].map(|time| ping(&mut connection, b"same", at(milliseconds(time))));
    arrive_at(&mut connection, Opcode::Pong, b"same", at(milliseconds(20)));
    assert!(matches!(connection.poll_pong(first), Poll::Ready(Ok(time)) if time == milliseconds(20)));
    assert!(connection.poll_pong(second).is_pending());
    arrive_at(&mut connection, Opcode::Pong, b"same", at(milliseconds(40)));
    assert!(matches!(connection.poll_pong(second), Poll::Ready(Ok(time)) if time == milliseconds(30)));
}

#[test]
fn a_pong_that_nobody_waits_for_is_a_message() {
    let mut connection = connection(Role::Client);
    let forgotten = ping(&mut connection, b"forgotten", now());
    connection.forget_ping(forgotten);
    arrive(&mut connection, Opcode::Pong, b"forgotten");
    arrive(&mut connection, Opcode::Pong, b"unsolicited");
    let pongs = ["forgotten", "unsolicited"].map(|payload| Message::Pong(payload.into()));
    assert_eq!(received(&mut connection), pongs);
    assert!(matches!(connection.poll_pong(forgotten), Poll::Ready(Err(SendError::Closed))));
}

#[test]
fn a_ping_waits_until_no_pong_can_arrive() {
    for phase in PHASES {
        let mut connection = connection(Role::Server);
        let id = ping(&mut connection, b"!", now());
        connection = bring_to(connection, phase);
        let ended = matches!(connection.poll_pong(id), Poll::Ready(Err(SendError::Closed)));
        assert_eq!(ended, matches!(phase, Ending | Closed), "{phase:?}");
        assert!(ended || connection.poll_pong(id).is_pending(), "{phase:?}");
    }
}

#[test]
fn the_application_waits_for_the_end_of_writing() {
    for phase in PHASES {
        let mut connection = in_phase(phase);
        let outcome = connection.poll_written();
        let right = match phase {
            ReadOnly => matches!(outcome, Poll::Ready(Err(SendError::Write(_)))),
            Closed => matches!(outcome, Poll::Ready(Err(SendError::Closed))),
            Open | Grace | CloseSent | Ending => matches!(outcome, Poll::Ready(Ok(()))),
        };
        assert!(right, "{phase:?}: {outcome:?}");
    }
}

#[test]
fn writing_has_ended_once_the_transport_is_flushed() {
    let mut connection = connection(Role::Client);
    assert!(matches!(connection.send(MessageRef::Text("hi")), Poll::Ready(Ok(Sent::Now))));
    assert!(connection.poll_written().is_pending());
    connection.transmitted(connection.transmit().len());
    connection.take_changes();
    assert!(connection.poll_written().is_pending());
    connection.flushed();
    assert!(connection.take_changes().callers);
    assert!(matches!(connection.poll_written(), Poll::Ready(Ok(()))));
    connection.flushed();
    assert!(!connection.take_changes().callers, "nobody waits");
}

#[test]
fn a_close_frame_that_cannot_be_written_ends_the_wait_for_it() {
    let mut connection = connection(Role::Client);
    connection.close(Some(&CLOSE), now());
    assert!(connection.poll_written().is_pending());
    connection.take_changes();
    connection.write_failed(broken(), now());
    assert!(connection.take_changes().callers);
    assert!(matches!(connection.poll_written(), Poll::Ready(Err(SendError::Write(_)))));
}

#[test]
fn the_closure_keeps_the_failure_that_was_received() {
    for (phase, fails) in [(Grace, true), (Ending, false), (Closed, true)] {
        let mut connection = in_phase(phase);
        if phase == Grace {
            connection.try_receive();
        }
        // Until nothing more is reported.
        for _ in 0..2 {
            let _ = connection.receive();
        }
        connection.input_ended();
        written(&mut connection);
        connection.handle_timeout(at(CLOSE_TIMEOUT));
        assert_eq!(name(&connection), Closed, "{phase:?}");
        assert!(matches!(connection.receive(), Poll::Ready(Err(ReceiveError::Closed))));
        assert_eq!(connection.closure().failure.is_some(), fails, "{phase:?}");
    }
}
