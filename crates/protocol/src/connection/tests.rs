//! Tests of connections in virtual time. Here are the functions that they share.

mod closing;
mod compression;
mod inbox;
mod keep_alive;
mod memory;
mod output;
mod parts;
mod phases;
mod waiting;

use super::*;
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

trait IsReadyAndOk {
    fn is_ready_and_ok(&self) -> bool;
}

impl IsReadyAndOk for Poll<Result<Message, ReceiveError>> {
    fn is_ready_and_ok(&self) -> bool {
        matches!(self, Poll::Ready(Ok(_) | Err(ReceiveError::Failed(_))))
    }
}
