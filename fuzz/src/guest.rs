//! The guest of a connection in `frames`: it makes calls, holds their outcomes to the contract, and keeps what it saw.

use crate::{
    case::{Kind, Step, text},
    reference::{BINARY, CLOSE, Frame, PING, PONG, TEXT, is_close_code},
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::{
    join,
    task::yield_now,
    time::{Instant, sleep},
};
use websocket_connection::{CloseInfo, Connection, ConnectionState, Error, Message, Settings};

/// How far timers may be late: they have a grain of a millisecond, and limits may follow each other.
pub const LATE: Duration = Duration::from_millis(10);

pub struct Guest {
    pub connection: Connection,
    pub settings: &'static Settings,
    pub largest: usize,
    pub seen: Seen,
}

#[derive(Default)]
pub struct Seen {
    pub received: Vec<Frame>,
    pub failure: Option<Error>,
    /// Nothing more is received.
    pub over: bool,
    pub sent: Vec<Frame>,
    /// The payload of the close frame that the guest sent, if it was the first to close.
    pub closed: Option<Vec<u8>>,
    /// The guest called for a close, at whatever time.
    pub gave_up: bool,
    /// The peer stopped reading once, ended what it says, is gone.
    pub peer_stalled: bool,
    pub peer_ended: bool,
    pub peer_vanished: bool,
    state: Option<ConnectionState>,
    closing_since: Option<Instant>,
}

/// What a call gave, and how long it took.
type Timed<T> = (Result<T, Error>, Duration);

impl Guest {
    /// Does what steps that are not the peer's ask for.
    pub async fn act(&mut self, step: Step) {
        let was = self.connection.state();
        match step {
            Step::Receive => {
                let received = timed(self.connection.receive()).await;
                self.received(received);
            }
            Step::TryReceive => {
                if let Poll::Ready(received) = tried(timed(self.connection.receive())).await {
                    self.received(received);
                }
            }
            Step::Send(kind, payload) => {
                let message = message(kind, payload);
                let sent = timed(self.connection.send(&message)).await;
                self.sent(message, was, sent);
            }
            Step::TrySend(kind, payload) => {
                let message = message(kind, payload);
                if let Poll::Ready(sent) = tried(timed(self.connection.send(&message))).await {
                    self.sent(message, was, sent);
                }
            }
            Step::SendAndReceive(kind, payload) => {
                let message = message(kind, payload);
                let sending = self.connection.send(&message);
                let (sent, received) = join!(timed(sending), timed(self.connection.receive()));
                self.sent(message, was, sent);
                self.received(received);
            }
            Step::Close(code, reason) => {
                let outcome = self.connection.close(code, reason.clone());
                self.closed(code, reason, was, outcome);
            }
            Step::Pause(time) => {
                // A pause is longer than a batch is held back.
                self.connection.flush_batch();
                sleep(time).await;
            }
            Step::Wire(_) | Step::Frame(..) | Step::PeerReads(_) | Step::PeerEnds | Step::PeerVanishes => {}
        }
    }

    /// States never go back, and closing takes no longer than it may.
    pub fn watch_state(&mut self) {
        let (before, now) = (self.seen.state, self.connection.state());
        assert!(before <= Some(now), "from {before:?} to {now:?}");
        self.seen.state = Some(now);
        // After a failed send, what is left to receive has no time limit.
        if now == ConnectionState::Closing && !self.seen.peer_vanished {
            let since = self.seen.closing_since.get_or_insert_with(Instant::now);
            assert!(since.elapsed() <= self.settings.close_timeout + LATE, "closing takes {:?}", since.elapsed());
        }
    }

    fn received(&mut self, (outcome, took): Timed<Option<Message>>) {
        let (seen, wait) = (&mut self.seen, self.settings.receive_wait);
        assert!(took <= wait + LATE, "receive took {took:?}");
        assert!(took >= wait || outcome != Ok(None), "receive gave up after {took:?}");
        let ended = seen.over || seen.failure.is_some() || seen.received.last().is_some_and(|(kind, _)| *kind == CLOSE);
        match outcome {
            Err(Error::ConnectionClosed) => seen.over = true,
            outcome if ended => panic!("{outcome:?} after the end"),
            Ok(None) => {}
            Ok(Some(message)) => seen.received.push(flat(message)),
            Err(error) => seen.failure = Some(error),
        }
    }

    fn sent(&mut self, message: Message, was: ConnectionState, (outcome, took): Timed<()>) {
        let (seen, wait) = (&mut self.seen, self.settings.write_timeout);
        assert!(took <= wait + LATE, "send took {took:?}");
        let most = match message {
            Message::Text(_) | Message::Binary(_) => self.largest,
            Message::Ping(_) | Message::Pong(_) => 125,
            Message::Close(CloseInfo { code, reason }) => return self.closed(Some(code), reason, was, outcome),
        };
        let fits = message.len() <= most;
        match outcome {
            Ok(()) if fits && was == ConnectionState::Open => seen.sent.push(flat(message)),
            Err(Error::InvalidMessage(_)) if !fits => {}
            Err(Error::ConnectionClosed) if self.connection.state() > ConnectionState::Open => {}
            Err(Error::Io(_)) if seen.peer_vanished => {}
            Err(Error::Timeout) if seen.peer_stalled && took >= wait => {}
            outcome => panic!("{} of {most} bytes, {was:?}: send gave {outcome:?} after {took:?}", message.len()),
        }
    }

    fn closed(&mut self, code: Option<u16>, reason: Option<String>, was: ConnectionState, outcome: Result<(), Error>) {
        let code = code.or(reason.is_some().then_some(1000));
        let reason = reason.unwrap_or_default();
        let fits = reason.len() <= 123 && code.is_none_or(is_close_code);
        match outcome {
            Ok(()) if fits => assert_ne!(self.connection.state(), ConnectionState::Open),
            Err(Error::InvalidMessage(_)) if !fits => return,
            outcome => panic!("close({code:?}, {reason:?}) gave {outcome:?}"),
        }
        self.seen.gave_up = true;
        if was == ConnectionState::Open {
            let code = code.map(u16::to_be_bytes);
            self.seen.closed = Some([code.as_ref().map_or(&[][..], |code| code), reason.as_bytes()].concat());
        }
    }
}

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (call.await, begun.elapsed())
}

/// What a call gives at once; one that waits is given up, after others have had their turn.
async fn tried<T>(call: impl Future<Output = T>) -> Poll<T> {
    let mut call = pin!(call);
    let outcome = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    if outcome.is_pending() {
        yield_now().await;
    }
    outcome
}

fn message(kind: Kind, payload: Vec<u8>) -> Message {
    match kind {
        Kind::Text => Message::Text(text(payload)),
        Kind::Binary => Message::Binary(payload.into()),
        Kind::Ping => Message::Ping(payload.into()),
        Kind::Pong => Message::Pong(payload.into()),
        Kind::Close => match payload[..] {
            [high, low, ref reason @ ..] => {
                let reason = Some(text(reason.to_vec()));
                Message::Close(CloseInfo { code: u16::from_be_bytes([high, low]), reason })
            }
            _ => Message::Close(CloseInfo { code: 1000, reason: None }),
        },
    }
}

/// A received message as the opcode and the payload of a frame.
pub fn flat(message: Message) -> Frame {
    match message {
        Message::Text(text) => (TEXT, text.into_bytes()),
        Message::Binary(data) => (BINARY, data.into()),
        Message::Ping(data) => (PING, data.into()),
        Message::Pong(data) => (PONG, data.into()),
        Message::Close(CloseInfo { code: 1005, reason: None }) => (CLOSE, vec![]),
        Message::Close(info) => {
            (CLOSE, [&info.code.to_be_bytes()[..], info.reason.unwrap_or_default().as_bytes()].concat())
        }
    }
}
