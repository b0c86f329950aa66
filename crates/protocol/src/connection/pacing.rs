//! When sent messages are written: at once, or in a batch.
//!
//! The first message after the application has waited is written at once, unless the application is one that sends several
//! between its waits. Further messages form a batch. A batch is written when it has 16, 32, 64, … messages or
//! [`OUTPUT_BOUND`] bytes, when the application waits, or [`BATCH_DELAY`] after its first message.

use std::time::Duration;

/// Bytes of output that may wait for the transport before a send waits.
pub const OUTPUT_BOUND: usize = 64 * 1024;
/// How long a batch may wait to be written.
pub const BATCH_DELAY: Duration = Duration::from_micros(500);
/// A batch is written when it reaches this many messages, and again at every power of two above: the peer works on the
/// first ones while the application produces the rest.
const FIRST_BATCH: u32 = 16;
/// If the peer has answered all other messages, this many bytes of a message of [`OUTPUT_BOUND`] or more are written before
/// the rest is masked: the peer wakes up meanwhile. A multiple of 4, the length of a mask.
pub(super) const EARLY_PART: usize = 16 * 1024;

/// What a send asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// [`Connection::transmit`](super::Connection::transmit) returns the message's bytes: write them, then call
    /// [`Connection::confirm`](super::Connection::confirm).
    Now,
    /// The message begins a batch. Call [`Connection::flush`](super::Connection::flush) within [`BATCH_DELAY`].
    BatchBegun,
    /// The message joined a batch.
    Batched,
}

/// The state behind these decisions.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// Messages sent since the application last waited.
    sends: u32,
    /// The application sent several messages between its last two waits.
    sends_batches: bool,
    /// A batch has begun that nobody has flushed.
    batch_begun: bool,
    /// Output is held back for a batch.
    holding: bool,
    /// Text and binary messages sent, less those received since: how many the peer may still have to read.
    unanswered: u64,
}

impl Pacing {
    /// Whether output is held back for a batch.
    pub(super) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Whether the first part of a message of `length` bytes is written early.
    pub(super) fn is_early(&self, length: usize) -> bool {
        self.unanswered == 0 && length >= OUTPUT_BOUND
    }

    /// Counts a sent message and decides when it is written. `output` is the length of the output with it.
    pub(super) fn sent(&mut self, is_data: bool, output: usize) -> Sent {
        self.sends = self.sends.saturating_add(1);
        self.unanswered += u64::from(is_data);
        let is_full = output >= OUTPUT_BOUND || (self.sends >= FIRST_BATCH && self.sends.is_power_of_two());
        if is_full || (self.sends == 1 && !self.sends_batches) {
            self.holding = false;
            return Sent::Now;
        }
        self.holding = true;
        if std::mem::replace(&mut self.batch_begun, true) { Sent::Batched } else { Sent::BatchBegun }
    }

    /// Counts a received text or binary message.
    pub(super) fn received_data(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Ends the batch because the application waits, or because its delay is over.
    pub(super) fn flush(&mut self) {
        if self.sends > 0 {
            self.sends_batches = self.sends > 1;
            self.sends = 0;
        }
        self.batch_begun = false;
        self.holding = false;
    }

    /// Lets the output go because a control frame follows.
    pub(super) fn release(&mut self) {
        self.holding = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_message_is_written_at_once() {
        let mut pacing = Pacing::default();
        for _ in 0..3 {
            assert_eq!(pacing.sent(true, 70), Sent::Now);
            assert!(!pacing.is_holding());
            pacing.flush();
        }
    }

    #[test]
    fn messages_between_two_waits_form_a_batch() {
        let mut pacing = Pacing::default();
        assert_eq!(pacing.sent(true, 70), Sent::Now);
        assert_eq!(pacing.sent(true, 140), Sent::BatchBegun);
        assert_eq!(pacing.sent(true, 210), Sent::Batched);
        assert!(pacing.is_holding());
        pacing.flush();
        assert!(!pacing.is_holding());
        // An application that has sent a batch is expected to send another.
        assert_eq!(pacing.sent(true, 70), Sent::BatchBegun);
        pacing.flush();
        assert_eq!(pacing.sent(true, 70), Sent::Now);
    }

    #[test]
    fn a_batch_is_written_at_powers_of_two_and_when_the_output_is_full() {
        let mut pacing = Pacing::default();
        let written: Vec<u32> = (1..=100).filter(|_| pacing.sent(true, 0) == Sent::Now).collect();
        assert_eq!(written, [1, 16, 32, 64]);
        pacing.flush();
        assert_eq!(pacing.sent(true, OUTPUT_BOUND - 1), Sent::BatchBegun);
        assert_eq!(pacing.sent(true, OUTPUT_BOUND), Sent::Now);
    }

    #[test]
    fn part_of_a_large_message_is_written_early_when_the_peer_has_answered_all_others() {
        let mut pacing = Pacing::default();
        assert!(pacing.is_early(OUTPUT_BOUND) && !pacing.is_early(OUTPUT_BOUND - 1));
        pacing.sent(true, 0);
        assert!(!pacing.is_early(OUTPUT_BOUND));
        pacing.received_data();
        pacing.sent(false, 0);
        assert!(pacing.is_early(OUTPUT_BOUND));
    }
}
