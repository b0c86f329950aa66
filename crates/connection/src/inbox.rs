//! Messages that were received and wait for the guest.

use crate::Message;
use std::collections::VecDeque;

/// A queue that knows how many bytes it holds. The driver stops reading when that is too much.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: VecDeque<Message>,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += cost(&message);
        self.queue.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }

    pub(crate) fn clear(&mut self) {
        *self = Inbox::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a message holds of memory: empty ones must count, or a flood of them would not.
fn cost(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}
