//! Messages that were received and wait for the guest.

use crate::Message;
use std::{collections::VecDeque, mem::discriminant};

/// How many unread pings wait, and how many unread pongs. A guest that only sends receives neither.
pub(crate) const MAX_UNREAD_CONTROL: usize = 16;

/// Received messages in their order. Text and binary messages cost bytes, and the driver stops reading while there are
/// too many. Pings and pongs cost none, so that they never stop it: of each the newest [`MAX_UNREAD_CONTROL`] are kept.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Text, binary and close messages.
    queue: VecDeque<Message>,
    /// How many messages were ever taken out of the queue.
    taken: u64,
    bytes: usize,
    /// Pings and pongs, each with the count of queued messages, taken ones included, that arrived before it.
    control: VecDeque<(u64, Message)>,
}

impl Inbox {
    /// Adds a message; returns whether an older ping or pong was dropped for it.
    pub(crate) fn push(&mut self, message: Message) -> bool {
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
        let is_full = self.control.iter().filter(|other| is_same(other)).count() == MAX_UNREAD_CONTROL;
        if is_full && let Some(oldest) = self.control.iter().position(is_same) {
            self.control.remove(oldest);
        }
        self.control.push_back((self.taken + self.queue.len() as u64, message));
        is_full
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        if self.control.front().is_some_and(|(before, _)| *before <= self.taken) {
            return self.control.pop_front().map(|(_, message)| message);
        }
        let message = self.queue.pop_front()?;
        self.taken += 1;
        self.bytes -= cost(&message);
        Some(message)
    }

    pub(crate) fn clear(&mut self) {
        *self = Inbox::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.control.is_empty()
    }

    /// Whether there is a message that costs bytes, and all of them cost at least so many.
    pub(crate) fn is_full(&self, bound: usize) -> bool {
        !self.queue.is_empty() && self.bytes >= bound
    }

    /// What the text, binary and close messages cost.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a message holds of memory: empty ones must count, or a flood of them would not.
fn cost(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn ping(number: usize) -> Message {
        Message::Ping(Bytes::from(number.to_string()))
    }

    fn pong(number: usize) -> Message {
        Message::Pong(Bytes::from(number.to_string()))
    }

    fn text(number: usize) -> Message {
        Message::Text(number.to_string())
    }

    fn drain(inbox: &mut Inbox) -> Vec<Message> {
        std::iter::from_fn(|| inbox.pop()).collect()
    }

    #[test]
    fn control_messages_keep_their_place_among_data_messages() {
        let mut inbox = Inbox::default();
        let messages = [
            ping(0),
            text(1),
            ping(2),
            pong(3),
            text(4),
            text(5),
            pong(6),
            Message::Close(crate::CloseInfo { code: 1000, reason: None }),
        ];
        // From a fresh inbox, and from one that has been used.
        for _ in 0..2 {
            assert!(messages.iter().all(|message| !inbox.push(message.clone())));
            assert_eq!(drain(&mut inbox), messages);
            assert!(inbox.is_empty() && inbox.bytes() == 0);
        }
        // Taken one by one while others arrive.
        inbox.push(text(1));
        inbox.push(ping(2));
        assert_eq!(inbox.pop(), Some(text(1)));
        inbox.push(text(3));
        assert_eq!(inbox.pop(), Some(ping(2)));
        inbox.push(ping(4));
        assert_eq!(drain(&mut inbox), [text(3), ping(4)]);
    }

    #[test]
    fn the_newest_pings_and_the_newest_pongs_wait_and_cost_no_bytes() {
        let mut inbox = Inbox::default();
        inbox.push(pong(0));
        inbox.push(text(1));
        let bytes = inbox.bytes();
        let dropped = (0..1000).filter(|number| inbox.push(ping(*number))).count();
        assert_eq!(dropped, 1000 - MAX_UNREAD_CONTROL);
        inbox.push(text(2));
        assert!(inbox.push(ping(1000)));
        assert_eq!(inbox.bytes(), 2 * bytes);
        let newest = (1001 - MAX_UNREAD_CONTROL..1000).map(ping);
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
        inbox.push(Message::Binary(Bytes::new()));
        assert!(inbox.is_full(1));
    }
}
