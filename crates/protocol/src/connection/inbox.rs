//! Messages that were received and wait for the application.

use crate::{
    Message,
    frame::{Frame, Opcode},
    message::MessageKind,
};
use bytes::Bytes;
use std::{collections::VecDeque, mem::discriminant};

/// How many unread pings, and how many unread pongs, are kept. Older ones are dropped, so that memory stays bounded if an
/// application never receives.
pub const MAX_UNREAD_CONTROLS: usize = 16;

/// Received messages in the order of their arrival. Text and binary messages count as bytes, and reading stops while there
/// are too many. Pings and pongs do not, so that they never stop it: the newest [`MAX_UNREAD_CONTROLS`] of each are kept.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Entry>,
    /// How many entries were ever taken out of `queue`.
    taken: u64,
    /// How many entries, taken ones included, entered `queue` before the first one that ends a message or is the close
    /// frame; `None` when there is no such entry. Kept: the search would make each fragment cost as much as all before it.
    first_end: Option<u64>,
    bytes: usize,
    /// Pings and pongs, each with the count of entries, taken ones included, that entered `queue` before it.
    controls: VecDeque<(u64, Message)>,
}

#[derive(Debug)]
enum Entry {
    /// A text or binary message, or the close frame.
    Whole(Message),
    /// A fragment of a text or binary message.
    Fragment(Frame),
}

/// What the entries at the front make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// No entry.
    Nothing,
    /// A message that is there to its end.
    Complete(MessageKind),
    /// Fragments of a message whose end has not arrived.
    Incomplete(MessageKind),
    /// The close frame.
    Close,
}

impl Inbox {
    /// Appends a message; returns whether an older ping or pong was dropped for it.
    pub(super) fn push(&mut self, message: Message) -> bool {
        if matches!(message, Message::Ping(_) | Message::Pong(_)) {
            return self.push_control(message);
        }
        self.push_entry(Entry::Whole(message));
        false
    }

    /// Appends a fragment of a text or binary message.
    pub(super) fn push_fragment(&mut self, fragment: Frame) {
        self.push_entry(Entry::Fragment(fragment));
    }

    fn push_entry(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        if self.first_end.is_none() && entry.is_end() {
            self.first_end = Some(self.entered());
        }
        self.queue.push_back(entry);
    }

    fn push_control(&mut self, message: Message) -> bool {
        let kind = discriminant(&message);
        let is_same = |(_, other): &(u64, Message)| discriminant(other) == kind;
        let is_full = self.controls.iter().filter(|other| is_same(other)).count() == MAX_UNREAD_CONTROLS;
        if is_full && let Some(oldest) = self.controls.iter().position(is_same) {
            self.controls.remove(oldest);
        }
        self.controls.push_back((self.entered(), message));
        is_full
    }

    /// How many entries ever entered `queue`.
    fn entered(&self) -> u64 {
        self.taken + self.queue.len() as u64
    }

    /// What the entries at the front make.
    pub(super) fn front(&self) -> Front {
        match self.queue.front() {
            None => Front::Nothing,
            Some(Entry::Whole(Message::Text(_))) => Front::Complete(MessageKind::Text),
            Some(Entry::Whole(Message::Binary(_))) => Front::Complete(MessageKind::Binary),
            Some(Entry::Whole(_)) => Front::Close,
            Some(Entry::Fragment(frame)) => {
                let kind = if frame.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
                if self.fragments().is_some() { Front::Complete(kind) } else { Front::Incomplete(kind) }
            }
        }
    }

    /// How many fragments the message at the front has; `None` when its last one is missing.
    fn fragments(&self) -> Option<usize> {
        let end = (self.first_end? - self.taken) as usize;
        matches!(self.queue[end], Entry::Fragment(_)).then_some(end + 1)
    }

    /// Takes the next whole message, or a ping or pong that came before its end. Fragments that the close frame cut short
    /// are dropped.
    pub(super) fn pop(&mut self) -> Option<Message> {
        // Most often, there are only whole messages.
        if self.controls.is_empty() && !matches!(self.queue.front(), Some(Entry::Fragment(_))) {
            return match self.pop_entry()? {
                Entry::Whole(message) => Some(message),
                Entry::Fragment(_) => None,
            };
        }
        self.pop_among_others()
    }

    fn pop_among_others(&mut self) -> Option<Message> {
        let Some(Entry::Fragment(first)) = self.queue.front() else {
            return self.pop_control(0).or_else(|| match self.pop_entry()? {
                Entry::Whole(message) => Some(message),
                Entry::Fragment(_) => None,
            });
        };
        let is_text = first.opcode == Opcode::Text;
        let fragments = self.fragments();
        if let Some(control) = self.pop_control(fragments.unwrap_or(self.queue.len() + 1) as u64 - 1) {
            return Some(control);
        }
        match fragments {
            Some(_) => {
                let data = self.take_fragments().concat();
                Some(if is_text {
                    // It was checked as it arrived.
                    Message::Text(String::from_utf8(data).unwrap_or_default())
                } else {
                    Message::Binary(data.into())
                })
            }
            None if self.first_end.is_some() => {
                self.take_fragments();
                self.pop()
            }
            None => None,
        }
    }

    /// Takes the next frame.
    pub(super) fn pop_frame(&mut self) -> Option<Frame> {
        if let Some(control) = self.pop_control(0) {
            return Some(control.into_frame());
        }
        Some(match self.pop_entry()? {
            Entry::Whole(message) => message.into_frame(),
            Entry::Fragment(frame) => frame,
        })
    }

    /// Takes the next part of the message at the front.
    pub(super) fn pop_piece(&mut self) -> Option<Frame> {
        match self.queue.front()? {
            Entry::Whole(Message::Close(_)) => None,
            Entry::Whole(_) | Entry::Fragment(_) => match self.pop_entry()? {
                Entry::Whole(message) => Some(message.into_frame()),
                Entry::Fragment(frame) => Some(frame),
            },
        }
    }

    /// Takes the payloads of the fragments at the front, up to the end of their message.
    pub(super) fn take_fragments(&mut self) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        while let Some(Entry::Fragment(_)) = self.queue.front() {
            let Some(Entry::Fragment(frame)) = self.pop_entry() else { break };
            payloads.push(frame.payload);
            if frame.is_final {
                break;
            }
        }
        payloads
    }

    /// Drops the pings and pongs that came before the message at the front.
    pub(super) fn skip_controls(&mut self) {
        while self.pop_control(0).is_some() {}
    }

    /// Takes the next ping or pong if at most so many entries of the queue came before it.
    fn pop_control(&mut self, entries: u64) -> Option<Message> {
        let (before, _) = self.controls.front()?;
        if *before > self.taken + entries {
            return None;
        }
        self.controls.pop_front().map(|(_, message)| message)
    }

    fn pop_entry(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.bytes -= entry.cost();
        self.taken += 1;
        if entry.is_end() {
            self.first_end = match self.queue.front() {
                None => None,
                Some(next) if next.is_end() => Some(self.taken),
                Some(_) => self.queue.iter().position(Entry::is_end).map(|end| self.taken + end as u64),
            };
        }
        Some(entry)
    }

    pub(super) fn clear(&mut self) {
        *self = Inbox::default();
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.controls.is_empty()
    }

    /// Bytes of memory that text, binary and close messages hold; 0 only if there is none.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Entry {
    /// The memory that it holds. Empty messages count as well: a flood of them would otherwise be unbounded.
    fn cost(&self) -> usize {
        match self {
            Entry::Whole(message) => message.len() + size_of::<Message>(),
            Entry::Fragment(frame) => frame.payload.len() + size_of::<Entry>(),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Entry::Whole(_) => true,
            Entry::Fragment(frame) => frame.is_final,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

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

    fn fragment(opcode: Opcode, is_final: bool, payload: &'static str) -> Frame {
        Frame { opcode, is_final, payload: payload.into() }
    }

    /// Text in three fragments with a ping behind each, and a text behind them.
    fn fragmented() -> Inbox {
        let mut inbox = Inbox::default();
        inbox.push_fragment(fragment(Opcode::Text, false, "a"));
        inbox.push(ping(1));
        assert_eq!(inbox.front(), Front::Incomplete(MessageKind::Text));
        inbox.push_fragment(fragment(Opcode::Continuation, false, "b"));
        inbox.push(ping(2));
        inbox.push_fragment(fragment(Opcode::Continuation, true, "c"));
        inbox.push(ping(3));
        inbox.push(text(4));
        inbox
    }

    #[test]
    fn fragments_are_taken_as_a_message_behind_the_pings_between_them() {
        let mut inbox = fragmented();
        assert_eq!(inbox.front(), Front::Complete(MessageKind::Text));
        assert_eq!(drain(&mut inbox), [ping(1), ping(2), Message::Text("abc".into()), ping(3), text(4)]);
        assert_eq!((inbox.bytes(), inbox.first_end), (0, None));
    }

    #[test]
    fn fragments_are_taken_as_the_frames_that_arrived() {
        let mut inbox = fragmented();
        let frames: Vec<_> = std::iter::from_fn(|| inbox.pop_frame()).collect();
        let expected = [
            fragment(Opcode::Text, false, "a"),
            fragment(Opcode::Ping, true, "1"),
            fragment(Opcode::Continuation, false, "b"),
            fragment(Opcode::Ping, true, "2"),
            fragment(Opcode::Continuation, true, "c"),
            fragment(Opcode::Ping, true, "3"),
            fragment(Opcode::Text, true, "4"),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn a_message_that_is_incomplete_waits_and_is_dropped_before_the_close_frame() {
        let mut inbox = Inbox::default();
        inbox.push_fragment(fragment(Opcode::Binary, false, "a"));
        inbox.push(ping(1));
        assert_eq!(drain(&mut inbox), [ping(1)]);
        assert_eq!(inbox.front(), Front::Incomplete(MessageKind::Binary));
        let close = Message::Close(crate::CloseInfo { code: 1000, reason: None });
        inbox.push(close.clone());
        assert_eq!(inbox.front(), Front::Incomplete(MessageKind::Binary));
        assert_eq!(drain(&mut inbox), [close]);
        assert_eq!((inbox.bytes(), inbox.first_end), (0, None));
    }

    #[test]
    fn the_front_of_many_fragments_is_known_without_a_search() {
        let mut inbox = Inbox::default();
        let start = Instant::now();
        inbox.push_fragment(fragment(Opcode::Binary, false, ""));
        for _ in 0..100_000 {
            inbox.push_fragment(fragment(Opcode::Continuation, false, ""));
            assert_eq!(inbox.front(), Front::Incomplete(MessageKind::Binary));
        }
        inbox.push_fragment(fragment(Opcode::Continuation, true, ""));
        for _ in 0..100_000 {
            inbox.push(text(1));
            assert_eq!(inbox.front(), Front::Complete(MessageKind::Binary));
        }
        for _ in 0..100_001 {
            assert_eq!(inbox.front(), Front::Complete(MessageKind::Binary));
            assert!(inbox.pop_piece().is_some());
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn only_data_counts_as_bytes() {
        let mut inbox = Inbox::default();
        for number in 0..100 {
            inbox.push(ping(number));
        }
        assert!(inbox.bytes() == 0 && !inbox.is_empty());
        inbox.push(Message::Binary(Default::default()));
        assert!(inbox.bytes() > 0);
    }
}
