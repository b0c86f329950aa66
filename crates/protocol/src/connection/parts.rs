//! Messages that the application sends or receives in parts: in pieces of any size, or frame by frame.

use super::{Connection, Initiator, OUTPUT_BOUND, ReceiveError, SendError, Sent, inbox::Front, phase::Phase};
use crate::{
    CloseInfo, InvalidMessage, MessageRef, Violation,
    close::NO_STATUS,
    frame::{Frame, MAX_CONTROL_PAYLOAD, Opcode},
    message::{Claim, MessageKind, Utf8Check},
};
use bytes::Bytes;
use std::{task::Poll, time::Instant};

/// Bytes of one message at which reading ahead pauses while no call receives it whole. The fragments that have arrived and the
/// frame that is arriving count separately, and the remainder of one read comes on top.
pub const STREAM_BUFFER: usize = 256 * 1024;
/// The largest fragment of a message that is sent in pieces, in bytes.
pub const STREAM_FRAGMENT: usize = 64 * 1024;

/// The close frame that follows the beginning of a message that never ends (RFC 6455 section 7.4.1: unexpected condition).
const CUT_SHORT: u16 = 1011;

/// How the application takes the message at the front of the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Taking {
    /// Nothing of it was taken.
    #[default]
    Boundary,
    /// In pieces, by the call that received the stream.
    Pieces,
    /// Frame by frame.
    Frames,
}

/// The message that the application sends in parts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Outgoing {
    /// None.
    #[default]
    Boundary,
    /// It is sent in pieces.
    Pieces(Unfinished),
    /// It is sent frame by frame.
    Frames(Unfinished),
}

/// A message of which more is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unfinished {
    kind: MessageKind,
    utf8: Utf8Check,
    /// Bytes that were sent.
    size: u64,
    /// A frame was sent.
    has_begun: bool,
    is_compressed: bool,
}

/// A part of a received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The payload, in any size; a piece of text may end within a character.
    pub data: Bytes,
    /// Whether this is the end of the message.
    pub is_last: bool,
}

impl Outgoing {
    /// Whether another message has to wait.
    pub(super) fn is_within_message(&self) -> bool {
        !matches!(self, Outgoing::Boundary)
    }
}

impl Unfinished {
    fn new(kind: MessageKind) -> Self {
        Unfinished { kind, utf8: Utf8Check::default(), size: 0, has_begun: false, is_compressed: false }
    }

    /// The message with a further part. Fails if that makes it text that is not UTF-8.
    fn with(mut self, part: &[u8], is_last: bool) -> Result<Self, InvalidMessage> {
        self.size += part.len() as u64;
        self.has_begun = true;
        let is_valid =
            self.kind == MessageKind::Binary || (self.utf8.push(part) && (self.utf8.is_complete() || !is_last));
        if is_valid { Ok(self) } else { Err(InvalidMessage::Utf8) }
    }

    /// The opcode of the next frame.
    fn opcode(&self) -> Opcode {
        if self.has_begun { Opcode::Continuation } else { self.kind.opcode() }
    }
}

/// Sending.
impl Connection {
    /// Begins a message that [`Connection::send_piece`] sends. `Pending` while another message is sent in parts, and
    /// [`Changes::callers`](super::Changes::callers) says when to try again. Other text and binary messages wait for its end;
    /// pings, pongs and the close frame do not.
    ///
    /// # Errors
    /// [`SendError::Closed`] and [`SendError::Write`].
    pub fn send_stream(&mut self, kind: MessageKind) -> Poll<Result<(), SendError>> {
        if let Err(error) = self.check_open() {
            return Poll::Ready(Err(error));
        }
        if self.outgoing.is_within_message() {
            return Poll::Pending;
        }
        self.outgoing = Outgoing::Pieces(Unfinished::new(kind));
        Poll::Ready(Ok(()))
    }

    /// Sends what comes next of the message that [`Connection::send_stream`] began, as one fragment of at most
    /// [`STREAM_FRAGMENT`] bytes, and returns how many bytes of `data` it carries. Where compression was negotiated, each
    /// fragment is compressed and can be inflated before the next one is sent. The message ends when that is all and
    /// `is_last`. `Pending` while the output holds [`OUTPUT_BOUND`] bytes. Afterwards, do what [`Sent`] says, with
    /// [`Connection::confirm_part`].
    ///
    /// # Errors
    /// [`SendError::Closed`], also without a [`Connection::send_stream`]; [`SendError::Write`]; [`InvalidMessage::Utf8`] and
    /// [`InvalidMessage::TooLarge`], after which [`Connection::cancel_send`] is all that is left to do. Nothing of `data`
    /// was sent.
    pub fn send_piece(&mut self, data: &[u8], is_last: bool) -> Poll<Result<(usize, Sent), SendError>> {
        if let Err(error) = self.check_open() {
            return Poll::Ready(Err(error));
        }
        let Outgoing::Pieces(message) = self.outgoing else { return Poll::Ready(Err(SendError::Closed)) };
        let count = self.writer.fragment_size().min(STREAM_FRAGMENT).min(data.len());
        let (piece, is_last) = (&data[..count], is_last && count == data.len());
        if piece.is_empty() && !is_last {
            return Poll::Ready(Ok((0, Sent::Batched)));
        }
        let (size, limit) = (message.size.saturating_add(data.len() as u64), self.config.max_stream_size);
        if size > limit {
            return Poll::Ready(Err(InvalidMessage::TooLarge { size, limit }.into()));
        }
        if self.output.len() >= OUTPUT_BOUND {
            return Poll::Pending;
        }
        let mut next = match message.with(piece, is_last) {
            Ok(next) => next,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        if !message.has_begun {
            next.is_compressed = self.writer.compresses_pieces(count, is_last);
        }
        self.outgoing = Outgoing::Pieces(next);
        if next.is_compressed {
            self.writer.compressed_piece(message.opcode(), piece, is_last, &mut self.output);
        } else {
            self.writer.frames().frame(message.opcode(), is_last, piece, &mut self.output);
        }
        Poll::Ready(Ok((count, self.part_sent(is_last, next.size))))
    }

    /// Gives up the message that [`Connection::send_stream`] began. Once a part of it was sent, nothing but a close frame
    /// can follow: the closing handshake begins with 1011. Afterwards, write.
    pub fn cancel_send(&mut self, now: Instant) {
        let Outgoing::Pieces(message) = self.outgoing else { return };
        if !message.has_begun {
            self.sent_last();
        } else if matches!(self.phase, Phase::Open(_) | Phase::Grace { .. }) {
            let info = CloseInfo { code: CUT_SHORT, reason: Some("a message was cut short".to_owned()) };
            self.close_for(Initiator::Application, Some(&info), now);
        }
    }

    /// Sends one frame, as it is. `Pending` as [`Connection::send`]. A close frame is [`Connection::close`]. Afterwards, do
    /// what [`Sent`] says, with [`Connection::confirm_part`].
    ///
    /// # Errors
    /// [`SendError`]; [`InvalidMessage`] also where RFC 6455 sections 5.4 and 5.5 do not allow the frame after those that
    /// were sent before, or where its payload is over [`Config::max_frame_size`](super::Config::max_frame_size) or
    /// [`Config::max_message_size`](super::Config::max_message_size).
    pub fn send_frame(&mut self, frame: &Frame, now: Instant) -> Poll<Result<Sent, SendError>> {
        if let Err(error) = self.check_open() {
            return Poll::Ready(Err(error));
        }
        let Frame { opcode, is_final, payload } = frame;
        if opcode.is_control() {
            return self.send_control(*opcode, *is_final, payload, now);
        }
        let message = match self.next_frame_message(*opcode, *is_final, payload) {
            Ok(Some(message)) if self.output.len() < OUTPUT_BOUND => message,
            Ok(_) => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        self.outgoing = Outgoing::Frames(message);
        self.writer.frames().frame(*opcode, *is_final, payload, &mut self.output);
        Poll::Ready(Ok(self.part_sent(*is_final, message.size)))
    }

    /// The message that this frame belongs to, with the frame; `None` while it has to wait for another one.
    fn next_frame_message(
        &self,
        opcode: Opcode,
        is_final: bool,
        payload: &[u8],
    ) -> Result<Option<Unfinished>, InvalidMessage> {
        MessageRef::Binary(payload).check_sendable(self.config.max_message_size)?;
        let (size, limit) = (payload.len(), self.config.max_frame_size);
        if size > limit {
            return Err(InvalidMessage::FrameTooLarge { size, limit });
        }
        let before = match (self.outgoing, opcode) {
            (Outgoing::Frames(before), Opcode::Continuation) => before,
            (Outgoing::Frames(_), _) => return Err(InvalidMessage::NestedMessage),
            (_, Opcode::Continuation) => return Err(InvalidMessage::StrayContinuation),
            (Outgoing::Pieces(_), _) => return Ok(None),
            (Outgoing::Boundary, Opcode::Text) => Unfinished::new(MessageKind::Text),
            (Outgoing::Boundary, _) => Unfinished::new(MessageKind::Binary),
        };
        before.with(payload, is_final).map(Some)
    }

    fn send_control(
        &mut self,
        opcode: Opcode,
        is_final: bool,
        payload: &[u8],
        now: Instant,
    ) -> Poll<Result<Sent, SendError>> {
        let invalid = match opcode {
            _ if !is_final => InvalidMessage::FragmentedControl,
            _ if payload.len() > MAX_CONTROL_PAYLOAD => InvalidMessage::LongControl(payload.len()),
            Opcode::Ping => return self.send(MessageRef::Ping(payload)),
            Opcode::Pong => return self.send(MessageRef::Pong(payload)),
            _ => match CloseInfo::parse(payload) {
                Ok(info) => {
                    self.close(Some(&info).filter(|info| info.code != NO_STATUS), now);
                    return Poll::Ready(Ok(Sent::Now));
                }
                Err(Violation::CloseCode(code)) => InvalidMessage::CloseCode(code),
                Err(_) => InvalidMessage::ClosePayload,
            },
        };
        Poll::Ready(Err(invalid.into()))
    }

    /// Confirms that a part was sent for which [`Connection::send_piece`] or [`Connection::send_frame`] returned
    /// [`Sent::Now`]. Call it once the output was written as far as the transport took it.
    ///
    /// # Errors
    /// [`SendError::Write`] when writing failed.
    pub fn confirm_part(&mut self) -> Result<(), SendError> {
        match self.phase {
            Phase::ReadOnly { .. } => self.check_open(),
            _ => Ok(()),
        }
    }

    fn part_sent(&mut self, is_last: bool, size: u64) -> Sent {
        if is_last {
            self.stats.sent.messages += 1;
            self.stats.sent.bytes += size;
            self.sent_last();
        }
        self.pacing.sent(is_last, self.output.len())
    }

    /// Other messages may be sent.
    fn sent_last(&mut self) {
        self.outgoing = Outgoing::Boundary;
        self.changes.callers = true;
    }
}

/// Receiving.
impl Connection {
    /// Begins to receive the next message in pieces, and returns its kind; `None` for the close frame. Pings and pongs before
    /// it are skipped. Take it with [`Connection::receive_piece`]. `Pending` while there is none, or while another call is
    /// within a message, and [`Changes::callers`](super::Changes::callers) says when to try again.
    ///
    /// A message that has arrived in part is returned with [`Config::streams`](super::Config::streams) only; otherwise, one
    /// is once it is whole.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_stream(&mut self) -> Poll<Result<Option<MessageKind>, ReceiveError>> {
        if self.is_within_message() {
            return Poll::Pending;
        }
        self.inbox.skip_controls();
        let kind = match self.inbox.front() {
            Front::Complete(kind) | Front::Incomplete(kind) => kind,
            Front::Close => {
                self.inbox.pop();
                return Poll::Ready(Ok(None));
            }
            Front::Nothing => match self.reader.kind().filter(|_| self.config.streams && self.phase.receives()) {
                Some(kind) => kind,
                None => return self.nothing_left().map(Err),
            },
        };
        self.taking = Taking::Pieces;
        if !matches!(self.inbox.front(), Front::Complete(_)) {
            self.claim(Claim::Pieces);
        }
        Poll::Ready(Ok(Some(kind)))
    }

    /// What comes next of the message that [`Connection::receive_stream`] began; `Pending` while nothing has arrived, and
    /// [`Changes::callers`](super::Changes::callers) says when to try again. After the last piece, call it no more.
    ///
    /// # Errors
    /// The message was cut short: how the connection failed, once; or [`ReceiveError::Closed`], also without a
    /// [`Connection::receive_stream`], and once the connection is abandoned.
    pub fn receive_piece(&mut self) -> Poll<Result<Piece, ReceiveError>> {
        if self.taking != Taking::Pieces || self.is_abandoned {
            return Poll::Ready(Err(ReceiveError::Closed));
        }
        if let Some(Frame { payload: data, is_final: is_last, .. }) = self.inbox.pop_piece() {
            if is_last {
                self.leave_message();
            }
            self.taken();
            return Poll::Ready(Ok(Piece { data, is_last }));
        }
        if self.phase.receives() {
            let Some(data) = self.reader.take_piece() else { return Poll::Pending };
            self.taken();
            return Poll::Ready(Ok(Piece { data, is_last: false }));
        }
        self.leave_message();
        Poll::Ready(Err(match self.nothing_left() {
            Poll::Ready(error) => error,
            Poll::Pending => ReceiveError::Closed,
        }))
    }

    /// Discards what is left of the message that [`Connection::receive_stream`] began.
    pub fn discard_stream(&mut self) {
        if self.taking != Taking::Pieces {
            return;
        }
        if matches!(self.inbox.front(), Front::Complete(_)) {
            while self.inbox.pop_piece().is_some_and(|piece| !piece.is_final) {}
        } else {
            self.inbox.take_fragments();
            self.claim(Claim::Discarded);
        }
        self.leave_message();
        self.taken();
    }

    /// The next frame, with the opcode and the end that it had on the wire. The payload of a compressed message is inflated, while
    /// [`Config::max_frame_size`](super::Config::max_frame_size) counts compressed bytes. Control frames are returned too, of
    /// which the newest [`MAX_UNREAD_CONTROLS`](super::MAX_UNREAD_CONTROLS) of each kind are kept. The
    /// connection answers pings and the close frame by itself. `Pending` while there is none, or while another call is within
    /// a message, and [`Changes::callers`](super::Changes::callers) says when to try again. A message that
    /// [`Connection::receive`] has begun to wait for is one frame, as every message is without
    /// [`Config::streams`](super::Config::streams).
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_frame(&mut self) -> Poll<Result<Frame, ReceiveError>> {
        if self.taking == Taking::Pieces && self.is_within_message() {
            return Poll::Pending;
        }
        if let Some(frame) = self.inbox.pop_frame() {
            match frame.opcode {
                Opcode::Ping | Opcode::Pong => {}
                Opcode::Close => self.leave_message(),
                Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.is_final => self.leave_message(),
                Opcode::Continuation | Opcode::Text | Opcode::Binary => self.taking = Taking::Frames,
            }
            self.taken();
            return Poll::Ready(Ok(frame));
        }
        self.claim(Claim::Frame);
        self.nothing_left().map(Err)
    }

    /// Whether a call is within a message that it takes in parts. One that was cut short is left, and the rest of it dropped.
    pub(super) fn is_within_message(&mut self) -> bool {
        if self.taking == Taking::Boundary {
            return false;
        }
        let is_cut = match self.inbox.front() {
            Front::Complete(_) => false,
            Front::Close => true,
            Front::Nothing | Front::Incomplete(_) => !self.phase.receives(),
        };
        if is_cut {
            self.inbox.take_fragments();
            self.leave_message();
        }
        !is_cut
    }

    /// The next call is at a message's beginning.
    fn leave_message(&mut self) {
        if std::mem::take(&mut self.taking) != Taking::Boundary {
            self.changes.callers = true;
        }
    }

    /// Has the message assembled whose beginning is read, for a call that receives it whole.
    pub(super) fn claim_whole(&mut self) {
        if matches!(self.reader.claimed(), None | Some(Claim::Whole | Claim::Discarded)) {
            return;
        }
        let fragments = self.inbox.take_fragments();
        self.reader.claim_whole(fragments);
        self.changes.driver |= self.is_paused;
    }

    fn claim(&mut self, claim: Claim) {
        if self.reader.claimed() != Some(claim) {
            self.reader.claim(claim);
            self.changes.driver |= self.is_paused;
        }
    }
}
