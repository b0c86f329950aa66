//! The calls of the application: sending, receiving and closing.

use super::{
    Changes, Connection, Failure, Initiator, OUTPUT_BOUND, ReceiveError, SendError, Sent, pacing::EARLY_PART,
    phase::Phase,
};
use crate::{CloseInfo, InvalidMessage, Message, MessageRef, Role, frame::Payload, message::PreparedMessage};
use std::{sync::Arc, task::Poll, time::Instant};

impl Connection {
    /// Sends one message; a close frame is sent by [`Connection::close`]. `Pending` while the output holds
    /// [`OUTPUT_BOUND`] bytes, or while another message is sent in parts: nothing was sent, and [`Changes::callers`] says when to try again. Afterwards, do what
    /// [`Sent`] says.
    ///
    /// # Errors
    /// [`SendError`]; [`InvalidMessage::CloseFrame`] for a close frame.
    pub fn send(&mut self, message: MessageRef<'_>) -> Poll<Result<Sent, SendError>> {
        self.send_early(message, |_| {})
    }

    /// [`Connection::send`], with a part of a large message offered early: when it helps the peer, `write` is called with
    /// the message's first bytes in [`Connection::transmit`], before the rest is masked. It may write them or not.
    ///
    /// # Errors
    /// [`SendError`]. When `write` calls [`Connection::write_failed`], the first bytes may have been sent.
    pub fn send_early(
        &mut self,
        message: MessageRef<'_>,
        write: impl FnOnce(&mut Self),
    ) -> Poll<Result<Sent, SendError>> {
        self.send_message(message, true, write)
    }

    /// [`Connection::send`], never compressed: for a message that compression makes no smaller, or that has a secret beside
    /// text that others choose, whose compressed size would tell something about the secret.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_uncompressed(&mut self, message: MessageRef<'_>) -> Poll<Result<Sent, SendError>> {
        self.send_message(message, false, |_| {})
    }

    /// [`Connection::send`] for a message that is sent to many connections. Confirm it with
    /// [`Connection::confirm_prepared`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_prepared(&mut self, message: &PreparedMessage) -> Poll<Result<Sent, SendError>> {
        self.send_prepared_early(message, |_| {})
    }

    /// [`Connection::send_prepared`], with a part of a large message offered early, as by [`Connection::send_early`]. A client
    /// offers none.
    ///
    /// # Errors
    /// As [`Connection::send_early`].
    pub fn send_prepared_early(
        &mut self,
        message: &PreparedMessage,
        write: impl FnOnce(&mut Self),
    ) -> Poll<Result<Sent, SendError>> {
        if let Err(error) = self.check_send(message.as_binary()) {
            return Poll::Ready(Err(error));
        }
        if self.output.len() >= OUTPUT_BOUND || self.outgoing.is_within_message() {
            return Poll::Pending;
        }
        let encoded = self.writer.prepared(message);
        if self.config.role == Role::Server && encoded.payload.len() <= self.writer.fragment_size() {
            let payload = encoded.begin(&mut self.output);
            return self.put_payload(payload, message.as_binary(), write);
        }
        self.write_fragments(message.kind().opcode(), &encoded.payload, encoded.is_compressed);
        self.stats.sent.add(message.as_binary());
        Poll::Ready(Ok(self.pacing.sent(true, self.output.len())))
    }

    /// [`Connection::confirm`] for [`Connection::send_prepared`].
    ///
    /// # Errors
    /// As [`Connection::confirm`].
    pub fn confirm_prepared(&mut self, message: &PreparedMessage) -> Result<(), SendError> {
        self.confirm(message.as_binary())
    }

    fn send_message(
        &mut self,
        message: MessageRef<'_>,
        compress: bool,
        write: impl FnOnce(&mut Self),
    ) -> Poll<Result<Sent, SendError>> {
        if let Err(error) = self.check_send(message) {
            return Poll::Ready(Err(error));
        }
        let is_data = message.is_data();
        if self.output.len() >= OUTPUT_BOUND || (is_data && self.outgoing.is_within_message()) {
            return Poll::Pending;
        }
        debug_assert!(self.pong.is_none(), "a pong waits only while the output is full");
        if compress && let Some(payload) = self.writer.compress(message) {
            self.write_fragments(message.opcode(), &payload, true);
            self.stats.sent.add(message);
            return Poll::Ready(Ok(self.pacing.sent(is_data, self.output.len())));
        }
        let bytes = message.payload();
        if self.writer.is_fragmented(message) {
            self.write_fragments(message.opcode(), &bytes, false);
            self.stats.sent.add(message);
            return Poll::Ready(Ok(self.pacing.sent(is_data, self.output.len())));
        }
        let payload = self.writer.begin(message.opcode(), &bytes, &mut self.output);
        self.put_payload(payload, message, write)
    }

    /// Sends the payload of a message in one frame, whose header is in the output.
    fn put_payload(
        &mut self,
        mut payload: Payload<'_>,
        message: MessageRef<'_>,
        write: impl FnOnce(&mut Self),
    ) -> Poll<Result<Sent, SendError>> {
        if self.pacing.is_early(payload.remaining()) {
            payload.put(EARLY_PART, &mut self.output);
            self.pacing.release();
            write(self);
            // Writing may have failed; the beginning of the message was discarded then.
            if let Err(error) = self.check_send(message) {
                return Poll::Ready(Err(error));
            }
        }
        payload.put(usize::MAX, &mut self.output);
        self.stats.sent.add(message);
        Poll::Ready(Ok(self.pacing.sent(message.is_data(), self.output.len())))
    }

    /// Confirms that a message was sent for which [`Connection::send`] returned [`Sent::Now`]. Call it once the output was
    /// written as far as the transport took it.
    ///
    /// # Errors
    /// [`SendError::Write`] when writing failed. The message does not count as sent then.
    pub fn confirm(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        match self.phase {
            Phase::ReadOnly { .. } => {
                self.stats.sent.remove(message);
                self.check_send(message)
            }
            _ => Ok(()),
        }
    }

    fn check_send(&mut self, message: MessageRef<'_>) -> Result<(), SendError> {
        if matches!(message, MessageRef::Close(_)) {
            return Err(InvalidMessage::CloseFrame.into());
        }
        self.check_open()?;
        Ok(message.check_sendable(self.config.max_message_size)?)
    }

    /// Checks that something may be sent.
    pub(super) fn check_open(&mut self) -> Result<(), SendError> {
        match &mut self.phase {
            Phase::Open(_) | Phase::Grace { .. } => Ok(()),
            Phase::ReadOnly { error, is_reported: is_reported @ false, .. } => {
                *is_reported = true;
                Err(SendError::Write(Arc::clone(error)))
            }
            Phase::ReadOnly { .. } | Phase::CloseSent { .. } | Phase::Ending { .. } | Phase::Closed { .. } => {
                Err(SendError::Closed)
            }
        }
    }

    /// Lets the current batch be written, because the application waits or [`BATCH_DELAY`](super::BATCH_DELAY) is over. Afterwards, write.
    pub fn flush(&mut self) {
        self.pacing.flush();
    }

    /// The next message, in order; `Pending` while there is none, or while another call is within a message, and
    /// [`Changes::callers`] says when to try again.
    ///
    /// # Errors
    /// After every message: how the connection failed, once; then [`ReceiveError::Closed`].
    pub fn receive(&mut self) -> Poll<Result<Message, ReceiveError>> {
        match self.try_receive() {
            Some(message) => Poll::Ready(Ok(message)),
            None if self.is_within_message() => Poll::Pending,
            None => self.nothing_left().map(Err),
        }
    }

    /// The next unread message; `None` when there is none. Unlike [`Connection::receive`], it does not signal that the
    /// application has answered the messages before.
    pub fn try_receive(&mut self) -> Option<Message> {
        if self.is_within_message() {
            return None;
        }
        let message = self.inbox.pop();
        if message.is_some() {
            self.taken();
        } else {
            self.claim_whole();
        }
        message
    }

    /// What a call returns that receives and finds nothing unread: the application has answered what came before.
    pub(super) fn nothing_left(&mut self) -> Poll<ReceiveError> {
        self.end_grace();
        match &mut self.phase {
            Phase::Ending { failure, .. } | Phase::Closed { failure } => {
                Poll::Ready(failure.take().map_or(ReceiveError::Closed, ReceiveError::Failed))
            }
            _ => Poll::Pending,
        }
    }

    /// Something was taken out of the inbox: reading may go on.
    pub(super) fn taken(&mut self) {
        if self.is_paused && self.inbox.bytes() <= self.inbox_bound() / 2 {
            self.changes.driver = true;
        }
    }

    /// Begins the closing handshake unless it has begun; `None` sends a close frame without a code. Afterwards, write.
    pub fn close(&mut self, info: Option<&CloseInfo>, now: Instant) {
        self.close_for(Initiator::Application, info, now);
    }

    /// Closes because nobody holds the connection any more. Received messages are dropped. Afterwards, write.
    pub fn abandon(&mut self, info: &CloseInfo, now: Instant) {
        self.is_abandoned = true;
        self.inbox.clear();
        self.reader.discard_all();
        self.changes = Changes { callers: true, driver: true };
        match &self.phase {
            Phase::Grace { .. } => self.end_grace(),
            Phase::ReadOnly { .. } | Phase::CloseSent { write_error: Some(_), .. } => {
                self.closure.begin(Initiator::Drop);
                self.lose(Failure::Aborted);
            }
            _ => self.close_for(Initiator::Drop, Some(info), now),
        }
    }

    /// Ends the connection at once, without a closing handshake. The transport is to be reset.
    pub fn abort(&mut self) {
        self.discard_output();
        self.lose(Failure::Aborted);
    }

    pub(super) fn close_for(&mut self, initiator: Initiator, info: Option<&CloseInfo>, now: Instant) {
        let close_by = now + self.config.close_timeout;
        let write_error = match &self.phase {
            Phase::Open(_) | Phase::Grace { .. } => None,
            Phase::ReadOnly { error, .. } => Some(Arc::clone(error)),
            Phase::CloseSent { .. } | Phase::Ending { .. } | Phase::Closed { .. } => return,
        };
        self.closure.begin(initiator);
        if write_error.is_none() {
            self.write_close(info);
        }
        if matches!(self.phase, Phase::Grace { .. }) {
            return self.end_grace();
        }
        self.phase = Phase::CloseSent { close_by, write_error };
        self.changes = Changes { callers: true, driver: true };
    }
}
