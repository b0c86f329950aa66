//! Messages that were received and wait for the application.

use crate::Message;
use std::{collections::VecDeque, mem::discriminant};

/// How many unread pings, and how many unread pongs, are kept. Older ones are dropped, so that memory stays bounded if an
/// application never receives.
pub const MAX_UNREAD_CONTROLS: usize = 16;

/// Received messages in the order of their arrival. Text and binary messages count as bytes, and reading stops while there
/// are too many. Pings and pongs do not, so that they never stop it: the newest [`MAX_UNREAD_CONTROLS`] of each are kept.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Text, binary and close messages.
    queue: VecDeque<Message>,
    /// How many messages were ever taken out of `queue`.
    taken: u64,
    bytes: usize,
    /// Pings and pongs, each with the count of messages, taken ones included, that entered `queue` before it.
    controls: VecDeque<(u64, Message)>,
}

impl Inbox {
    /// Appends a message; returns whether an older ping or pong was dropped for it.
    pub(super) fn push(&mut self, message: Message) -> bool {
        if matches!(message, Message::Ping(_) | Message::Pong(_)) {
            return self.push_control(message);
        }
        self.bytes += cost(&message);
        self.queue.push_back(message);
        false
    }

    fn push_control(&mut self, message: Message) -> bool {
        let kind = discriminant(&message);
        let is_same = |(_, other): &(u64, Message)| discriminant(other) == kind;
        let is_full = self.controls.iter().filter(|other| is_same(other)).count() == MAX_UNREAD_CONTROLS;
        if is_full && let Some(oldest) = self.controls.iter().position(is_same) {
            self.controls.remove(oldest);
        }
        self.controls.push_back((self.taken + self.queue.len() as u64, message));
        is_full
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        if self.controls.front().is_some_and(|(before, _)| *before <= self.taken) {
            return self.controls.pop_front().map(|(_, message)| message);
        }
        let message = self.queue.pop_front()?;
        self.bytes -= cost(&message);
        self.taken += 1;
        Some(message)
    }

    pub(super) fn clear(&mut self) {
        *self = Inbox::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.controls.is_empty()
    }

    /// Whether the messages that count as bytes are at least so many bytes.
    pub(super) fn is_full(&self, bound: usize) -> bool {
        !self.queue.is_empty() && self.bytes >= bound
    }

    /// Bytes of memory that text, binary and close messages hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The memory that a message holds. Empty messages count as well: a flood of them would otherwise be unbounded.
fn cost(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(number: usize) -> Message {
        Message::Ping(number.to_string().into())
    }

    fn text(number: usize) -> Message {
        Message::Text(number.to_string())
    }

    fn pong(number: usize) -> Message {
        Message::Pong(number.to_string().into())
    }

    fn drain(inbox: &mut Inbox) -> Vec<Message> {
        std::iter::from_fn(|| inbox.pop()).collect()
    }

    #[test]
    fn pings_and_pongs_keep_their_place_among_data_messages() {
        let mut inbox = Inbox::default();
        let messages = [ping(0), text(1), ping(2), pong(3), text(4), text(5), pong(6)];
        // From a fresh inbox, and from one that was used.
        for _ in 0..2 {
            assert!(messages.iter().all(|message| !inbox.push(message.clone())));
            assert_eq!(drain(&mut inbox), messages);
            assert!(inbox.is_empty() && inbox.bytes() == 0);
        }
        inbox.push(text(1));
        inbox.push(ping(2));
        assert_eq!(inbox.pop(), Some(text(1)));
        inbox.push(text(3));
        assert_eq!(inbox.pop(), Some(ping(2)));
        inbox.push(ping(4));
        assert_eq!(drain(&mut inbox), [text(3), ping(4)]);
    }

    #[test]
    fn the_newest_pings_and_the_newest_pongs_are_kept_and_count_no_bytes() {
        let mut inbox = Inbox::default();
        inbox.push(pong(0));
        inbox.push(text(1));
        let bytes = inbox.bytes();
        let dropped = (0..1000).filter(|number| inbox.push(ping(*number))).count();
        assert_eq!(dropped, 1000 - MAX_UNREAD_CONTROLS);
        inbox.push(text(2));
        assert!(inbox.push(ping(1000)));
        assert_eq!(inbox.bytes(), 2 * bytes);
        let newest = (1001 - MAX_UNREAD_CONTROLS..1000).map(ping);
        let expected: Vec<_> = [pong(0), text(1)].into_iter().chain(newest).chain([text(2), ping(1000)]).collect();
        assert_eq!(drain(&mut inbox), expected);
    }

    #[test]
    fn only_data_fills_an_inbox() {
        let mut inbox = Inbox::default();
        for number in 0..100 {
            inbox.push(ping(number));
        }
        assert!(!inbox.is_full(1) && !inbox.is_empty());
        inbox.push(Message::Binary(Default::default()));
        assert!(inbox.is_full(1));
    }
}
