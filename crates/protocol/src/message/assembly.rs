//! The text or binary message that is being read: the bytes that have arrived of it, and what becomes of them.

use super::{
    Message, MessageKind,
    reader::{Claim, LARGE, ReadLimits, Unit},
    utf8::Utf8Check,
};
use crate::{
    Violation,
    frame::{Frame, Opcode},
};
use bytes::{Buf, Bytes, BytesMut};

/// How many bytes of a discarded message are inflated at once.
const DISCARD_STEP: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) is_text: bool,
    /// Its payload is inflated into `data`.
    pub(super) is_compressed: bool,
    pub(super) claim: Claim,
    /// Bytes of the message's payload that its frames have announced; of a compressed message, those that were inflated.
    pub(super) size: u64,
    /// A fragment or a piece was handed out.
    pub(super) is_split: bool,
    /// What was not handed out.
    pub(super) data: BytesMut,
    /// How much of `data` is unmasked. Bytes behind that were read straight into the message.
    pub(super) unmasked: usize,
    /// How much of `data` went through `utf8`.
    pub(super) checked: usize,
    utf8: Utf8Check,
}

impl Assembly {
    pub(super) fn new(is_text: bool, claim: Claim) -> Self {
        Assembly {
            is_text,
            is_compressed: false,
            claim,
            size: 0,
            is_split: false,
            data: BytesMut::new(),
            unmasked: 0,
            checked: 0,
            utf8: Utf8Check::default(),
        }
    }

    pub(super) fn kind(&self) -> MessageKind {
        if self.is_text { MessageKind::Text } else { MessageKind::Binary }
    }

    /// How many bytes may be held beyond those that are, if at most `hold` may.
    pub(super) fn capacity(&self, hold: Option<usize>) -> usize {
        match (self.claim, hold) {
            (Claim::Open | Claim::Pieces, Some(hold)) => hold.saturating_sub(self.data.len()),
            (Claim::Discarded, _) => 0,
            _ => usize::MAX,
        }
    }

    /// How many bytes of a compressed message are inflated next: as many as may be held, and one more than the limits allow
    /// at most, which is how a message that exceeds them is noticed.
    pub(super) fn capacity_inflated(&self, limits: &ReadLimits) -> usize {
        let left = match self.claim {
            Claim::Open | Claim::Whole => (limits.max_message_size as u64).saturating_sub(self.size),
            Claim::Frame => limits.max_message_size.saturating_sub(self.data.len()) as u64,
            Claim::Pieces => limits.max_stream_size.saturating_sub(self.size),
            Claim::Discarded => limits.max_stream_size.saturating_sub(self.size).min(DISCARD_STEP),
        };
        let most = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        if self.claim == Claim::Discarded { most } else { most.min(self.capacity(limits.hold)) }
    }

    /// Moves `count` bytes out of `input`, of a frame that has `remaining` to come. A large beginning takes the buffer with it.
    pub(super) fn take(&mut self, count: usize, remaining: usize, input: &mut BytesMut) {
        if !self.data.is_empty() || count < LARGE || 2 * count < input.capacity() {
            self.reserve(count, remaining);
            self.data.extend_from_slice(&input[..count]);
            input.advance(count);
        } else if count == input.len() {
            self.data = std::mem::take(input);
        } else {
            self.data = input.split_to(count);
        }
    }

    /// Reserves capacity for `count` bytes of a frame that has `remaining` to come. Capacity grows with the bytes that have
    /// arrived, to at most sixteen times as many, never with the announced size.
    pub(super) fn reserve(&mut self, count: usize, remaining: usize) {
        let free = self.data.capacity() - self.data.len();
        if free < count {
            let ahead = if count == remaining { count } else { remaining.min(count + 15 * self.data.len()) };
            self.data.reserve(ahead);
        }
    }

    /// Checks the text that has arrived (RFC 6455 section 8.1).
    pub(super) fn check_utf8(&mut self) -> Result<(), Violation> {
        if !self.utf8.push(&self.data[self.checked..]) {
            return Err(Violation::Utf8);
        }
        self.checked = self.data.len();
        Ok(())
    }

    /// Puts the payloads of fragments that were handed out in front again.
    pub(super) fn rejoin(&mut self, fragments: impl IntoIterator<Item = Bytes>) {
        let data = std::mem::take(&mut self.data);
        fragments.into_iter().for_each(|fragment| self.data.extend_from_slice(&fragment));
        self.unmasked += self.data.len();
        self.checked += self.data.len();
        self.data.extend_from_slice(&data);
        self.is_split = false;
    }

    /// Hands out what was unmasked of the current frame; `None` when that is nothing.
    pub(super) fn take_piece(&mut self) -> Option<Bytes> {
        debug_assert!(!self.is_text || self.checked == self.unmasked);
        self.checked = 0;
        let unmasked = std::mem::take(&mut self.unmasked);
        self.is_split |= unmasked > 0;
        (unmasked > 0).then(|| self.data.split_to(unmasked).freeze())
    }

    /// Discards what is left. Bytes that were read in place and not yet taken are still to be skipped.
    pub(super) fn discard(&mut self) {
        self.claim = Claim::Discarded;
        self.data.advance(self.unmasked);
        (self.unmasked, self.checked) = (0, 0);
    }

    /// The unit that a frame makes which is not the last one of the message.
    pub(super) fn end_frame(&mut self) -> Option<Unit> {
        match self.claim {
            Claim::Whole | Claim::Discarded => return None,
            Claim::Frame => self.claim = Claim::Open,
            Claim::Open | Claim::Pieces => {}
        }
        Some(self.fragment(false))
    }

    fn fragment(&mut self, is_final: bool) -> Unit {
        let opcode = match (std::mem::replace(&mut self.is_split, true), self.is_text) {
            (true, _) => Opcode::Continuation,
            (false, true) => Opcode::Text,
            (false, false) => Opcode::Binary,
        };
        (self.unmasked, self.checked) = (0, 0);
        let payload = std::mem::take(&mut self.data).freeze();
        Unit::Fragment { frame: Frame { opcode, is_final, payload }, size: self.size }
    }

    /// The unit that the end of the message makes.
    pub(super) fn end(mut self) -> Result<Unit, Violation> {
        if self.claim == Claim::Discarded {
            return Ok(Unit::Discarded { size: self.size });
        }
        if self.is_split {
            return if self.utf8.is_complete() { Ok(self.fragment(true)) } else { Err(Violation::Utf8) };
        }
        let message = if self.is_text {
            String::from_utf8(self.data.into()).map(Message::Text).map_err(|_| Violation::Utf8)?
        } else {
            Message::Binary(self.data.freeze())
        };
        Ok(Unit::Message(message))
    }
}
