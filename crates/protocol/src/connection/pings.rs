//! Pings that the application sends to hear their pongs.

use super::{Connection, SendError, Sent, phase::Phase};
use crate::MessageRef;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    task::Poll,
    time::{Duration, Instant},
};

/// Names a ping that [`Connection::ping`] sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingId(u64);

/// The pings whose senders wait.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// In the order in which they were sent.
    waiting: VecDeque<Ping>,
    /// How many pings were ever sent.
    sent: u64,
}

#[derive(Debug)]
struct Ping {
    id: PingId,
    payload: Bytes,
    sent: Instant,
    round_trip: Option<Duration>,
}

impl Pings {
    /// Notes a pong that arrived; returns whether it answers a ping. It also answers those before that ping (RFC 6455
    /// section 5.5.3).
    pub(super) fn answer(&mut self, payload: &[u8], now: Instant) -> bool {
        let is_answered = |ping: &Ping| ping.round_trip.is_none() && ping.payload == payload;
        let Some(last) = self.waiting.iter().position(is_answered) else { return false };
        for ping in self.waiting.range_mut(..=last) {
            ping.round_trip.get_or_insert_with(|| now.saturating_duration_since(ping.sent));
        }
        true
    }
}

impl Connection {
    /// Sends a ping of at most 125 bytes whose pong [`Connection::poll_pong`] waits for. That pong is not received as a
    /// message. Several pings may be on their way. `Pending` as [`Connection::send`]. Afterwards, do what [`Sent`] says,
    /// and confirm it as [`MessageRef::Ping`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn ping(&mut self, payload: &Bytes, now: Instant) -> Poll<Result<(PingId, Sent), SendError>> {
        self.send(MessageRef::Ping(payload)).map_ok(|sent| {
            let id = PingId(self.pings.sent);
            self.pings.sent += 1;
            self.pings.waiting.push_back(Ping { id, payload: payload.clone(), sent: now, round_trip: None });
            (id, sent)
        })
    }

    /// The time from a ping to its pong, once; `Pending` while it has not arrived, and
    /// [`Changes::callers`](super::Changes::callers) says when to try again.
    ///
    /// # Errors
    /// [`SendError::Closed`] when no pong can arrive any more, and after [`Connection::forget_ping`].
    pub fn poll_pong(&mut self, id: PingId) -> Poll<Result<Duration, SendError>> {
        let Some(ping) = self.pings.waiting.iter().find(|ping| ping.id == id) else {
            return Poll::Ready(Err(SendError::Closed));
        };
        match (ping.round_trip, &self.phase) {
            (None, Phase::Ending { .. } | Phase::Closed { .. }) => Poll::Ready(Err(SendError::Closed)),
            (None, _) => Poll::Pending,
            (Some(round_trip), _) => {
                self.forget_ping(id);
                Poll::Ready(Ok(round_trip))
            }
        }
    }

    /// Nobody waits for the pong of this ping any more. If it arrives, it is received as a message.
    pub fn forget_ping(&mut self, id: PingId) {
        self.pings.waiting.retain(|ping| ping.id != id);
    }
}
