//! Frames to messages (RFC 6455 sections 5.4 and 8.1): a [`FrameReader`] under an assembler.

#[cfg(test)]
mod tests;

use super::{Message, MessageKind, assembly::Assembly};
use crate::{
    CloseInfo, Role, Violation,
    deflate::Inflater,
    frame::{Frame, FrameHeader, FrameReader, Opcode},
};
use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

/// A payload of at least this many bytes is not copied out of the buffer that it was read into, and the remainder of such
/// a payload is read straight into the message. Fuzzers reach that with little input.
pub(super) const LARGE: usize = if cfg!(fuzzing) { 64 } else { 16 * 1024 };

/// The bit of an opcode that control frames have and data frames have not (RFC 6455 section 5.5).
const CONTROL_BIT: u8 = 0x08;

/// The work without a result after which [`MessageReader::next_unit`] pauses, in discarded bytes.
const TURN: usize = 1 << 20;
/// What a frame without a result counts as in a turn, besides its payload.
const FRAME_COST: usize = 2 * 1024;

/// The limits of a [`MessageReader`], in bytes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReadLimits {
    /// A message that is read whole.
    pub max_message_size: usize,
    /// The payload of one text, binary or continuation frame, as it is on the wire: compressed if the message is.
    pub max_frame_size: usize,
    /// A message that is read in pieces.
    pub max_stream_size: u64,
    /// How much of a message is read before [`MessageReader::claim`] decides how it is read. `None`: every message is read
    /// whole.
    pub hold: Option<usize>,
}

impl ReadLimits {
    /// Every message is read whole, and may be this large.
    pub fn new(max_message_size: usize) -> Self {
        ReadLimits { max_message_size, max_frame_size: usize::MAX, max_stream_size: u64::MAX, hold: None }
    }
}

/// How the message that is arriving is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has decided. It is read frame by frame. Reading stops within a frame once [`ReadLimits::hold`] bytes of it are
    /// held, and before a frame that makes the message larger than [`ReadLimits::max_message_size`].
    Open,
    /// It is assembled. More than [`ReadLimits::max_message_size`] bytes are a violation.
    Whole,
    /// The current frame is read as a whole; more than [`ReadLimits::max_message_size`] bytes are a violation. The next one
    /// is [`Claim::Open`].
    Frame,
    /// It is read frame by frame, and [`MessageReader::take_piece`] takes what has arrived of a frame. Reading stops while
    /// [`ReadLimits::hold`] bytes are held. More than [`ReadLimits::max_stream_size`] bytes are a violation.
    Pieces,
    /// What is left of it is discarded. More than [`ReadLimits::max_stream_size`] bytes are a violation, unless every
    /// message is discarded.
    Discarded,
}

/// What a [`MessageReader`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// A whole message or a control frame.
    Message(Message),
    /// A part of a message that is not read whole: one of several frames, or what [`MessageReader::take_piece`] left of one.
    Fragment {
        /// A continuation unless nothing of the message was read before.
        frame: Frame,
        /// Bytes of the message so far, these included.
        size: u64,
    },
    /// A message has ended that was discarded.
    Discarded {
        /// Bytes of the message.
        size: u64,
    },
}

/// Reads the messages that one end of a connection receives. The caller owns the input buffer.
///
/// A message's size is checked when a frame announces it; memory for it grows only with the bytes that have arrived. Text
/// is checked as it arrives, so that a message fails at its first invalid byte.
#[derive(Debug)]
pub struct MessageReader {
    frames: FrameReader,
    limits: ReadLimits,
    /// The frame whose payload is being read.
    frame: Option<FrameHeader>,
    /// The text or binary message that has begun.
    message: Option<Assembly>,
    /// Every message is discarded.
    discards: bool,
    /// For compressed messages, if they were negotiated.
    inflater: Option<Box<Inflater>>,
    /// How many bytes at the front of the input are payload of a compressed message that is unmasked, and not inflated.
    unmasked: usize,
    /// What is left of [`TURN`].
    turn: usize,
}

impl MessageReader {
    /// A reader for the end that plays `role`.
    pub fn new(role: Role, limits: ReadLimits) -> Self {
        let frames = FrameReader::new(role, limits.max_frame_size);
        MessageReader {
            frames,
            limits,
            frame: None,
            message: None,
            discards: false,
            inflater: None,
            unmasked: 0,
            turn: TURN,
        }
    }

    /// Accepts compressed messages too, and inflates them as they arrive (RFC 7692). The limits of messages count inflated
    /// bytes.
    pub fn set_inflater(&mut self, inflater: Inflater) {
        self.frames.allow_compression();
        self.inflater = Some(Box::new(inflater));
    }

    /// Whether a text or binary message has begun that has not ended.
    pub fn is_within_message(&self) -> bool {
        self.message.is_some()
    }

    /// Whether a text or binary message comes next in `input`, or goes on. A control frame between its fragments does not
    /// count.
    pub fn is_data_next(&self, input: &[u8]) -> bool {
        match self.frame {
            Some(frame) => !frame.opcode.is_control(),
            None => input.first().is_some_and(|first| first & CONTROL_BIT == 0),
        }
    }

    /// The kind of the message that has begun, unless it is discarded.
    pub fn kind(&self) -> Option<MessageKind> {
        self.message.as_ref().filter(|message| message.claim != Claim::Discarded).map(Assembly::kind)
    }

    /// How the message that has begun is read.
    pub fn claimed(&self) -> Option<Claim> {
        self.message.as_ref().map(|message| message.claim)
    }

    /// How the message that has begun is read, and how many bytes of it can be taken. It changes whenever a call that waits
    /// for the message may go on.
    pub(crate) fn progress(&self) -> Option<(Claim, usize)> {
        self.message.as_ref().map(|message| (message.claim, message.unmasked))
    }

    /// Decides how the message that has begun is read. A message that is assembled arrives as one frame to
    /// [`Claim::Frame`]. Nothing takes back [`Claim::Discarded`]. Fragments that were handed out of a message
    /// that is to be [`Claim::Whole`] go to [`MessageReader::claim_whole`].
    pub fn claim(&mut self, claim: Claim) {
        let Some(message) = &mut self.message else { return };
        match (message.claim, claim) {
            (Claim::Discarded, _) | (Claim::Whole, Claim::Frame | Claim::Open) => {}
            (_, Claim::Discarded) => message.discard(),
            _ => message.claim = claim,
        }
    }

    /// Has the message that has begun assembled, with the payloads of the fragments that were handed out of it.
    pub fn claim_whole(&mut self, fragments: impl IntoIterator<Item = Bytes>) {
        let Some(message) = &mut self.message else { return };
        if message.claim == Claim::Discarded {
            return;
        }
        if message.is_split {
            message.rejoin(fragments);
        }
        message.claim = Claim::Whole;
    }

    /// Discards what is left of the message that has begun, and every later one.
    pub fn discard_all(&mut self) {
        self.discards = true;
        self.claim(Claim::Discarded);
    }

    /// Whether reading has stopped until the message is claimed, or until [`MessageReader::take_piece`] takes what is held.
    pub fn is_stopped(&self) -> bool {
        let (Some(message), Some(hold)) = (&self.message, self.limits.hold) else { return false };
        let is_data = self.frame.is_some_and(|frame| !frame.opcode.is_control());
        let is_full = message.unmasked > 0 && message.unmasked >= hold;
        match message.claim {
            Claim::Open => is_data && (is_full || message.size > self.limits.max_message_size as u64),
            Claim::Pieces => is_data && is_full,
            Claim::Whole | Claim::Frame | Claim::Discarded => false,
        }
    }

    /// Takes what has arrived of the current frame of a message that is read in [`Claim::Pieces`]; `None` when that is
    /// nothing. A piece of text may end within a character.
    pub fn take_piece(&mut self) -> Option<Bytes> {
        self.message.as_mut().filter(|message| message.claim == Claim::Pieces)?.take_piece()
    }

    /// Forgets the message being assembled, and its memory.
    pub fn clear(&mut self) {
        self.message = None;
        if let Some(inflater) = &mut self.inflater {
            inflater.clear();
        }
    }

    /// Bytes that are held of the message that has begun.
    pub fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.data.len())
    }

    /// Bytes of memory that the message being assembled holds, and those that inflating needs.
    pub fn reserved(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, |inflater| inflater.memory_held());
        self.message.as_ref().map_or(0, |message| message.data.capacity()) + inflater
    }

    /// Where to read the bytes that follow, when the input buffer is empty: the message that is being assembled, if much
    /// of the current frame's payload is still to come. `None`: into the input buffer.
    pub fn read_in_place(&mut self) -> Option<Limit<&mut BytesMut>> {
        let remaining = self.remaining();
        let hold = self.limits.hold;
        match &mut self.message {
            Some(message) if message.is_compressed => None,
            Some(message) if remaining >= LARGE && self.frame.is_some_and(|frame| !frame.opcode.is_control()) => {
                let most = remaining.min(message.capacity(hold));
                if most == 0 {
                    return None;
                }
                if message.data.len() == message.data.capacity() {
                    message.reserve(LARGE.min(most), most);
                }
                Some((&mut message.data).limit(most))
            }
            _ => None,
        }
    }

    /// Whether reading has paused because much was read of messages that are discarded, or in frames that are no unit by
    /// themselves. A peer that sends them without end would keep the caller busy. [`MessageReader::begin_turn`] lets reading
    /// go on.
    pub fn is_turn_over(&self) -> bool {
        self.turn == 0
    }

    /// Lets reading go on that [`MessageReader::is_turn_over`] has paused.
    pub fn begin_turn(&mut self) {
        self.turn = TURN;
    }

    /// Takes the next unit out of `input`; `None` when it needs more bytes, while [`MessageReader::is_stopped`], or while
    /// [`MessageReader::is_turn_over`].
    ///
    /// # Errors
    /// A [`Violation`], after which nothing more can be read.
    pub fn next_unit(&mut self, input: &mut BytesMut) -> Result<Option<Unit>, Violation> {
        loop {
            if self.is_turn_over() {
                return Ok(None);
            }
            if let Some(message) = self.next_small(input)? {
                return Ok(Some(Unit::Message(message)));
            }
            let header = match self.frame {
                Some(header) => header,
                None => match self.begin_frame(input)? {
                    Some(header) => header,
                    None => return Ok(None),
                },
            };
            if header.opcode.is_control() {
                let Some(payload) = self.frames.take_all(input) else { return Ok(None) };
                self.frame = None;
                return control_message(header.opcode, payload).map(|message| Some(Unit::Message(message)));
            }
            self.check_size(header)?;
            if self.is_stopped() {
                return Ok(None);
            }
            let ended = if self.message.as_ref().is_some_and(|message| message.is_compressed) {
                self.inflate_payload(header, input)?
            } else {
                self.read_payload(header.is_final, input)?
            };
            if !ended {
                return Ok(None);
            }
            self.frame = None;
            let unit = match &mut self.message {
                Some(message) if !header.is_final => message.end_frame(),
                _ => self.message.take().map(Assembly::end).transpose()?,
            };
            if matches!(unit, None | Some(Unit::Discarded { .. })) {
                self.turn = self.turn.saturating_sub(FRAME_COST);
            }
            if unit.is_some() {
                return Ok(unit);
            }
        }
    }

    /// Takes a small message that has arrived whole, in one frame: most messages do. It is never assembled.
    fn next_small(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Violation> {
        if self.frame.is_some() || self.message.is_some() || self.discards {
            return Ok(None);
        }
        let most = LARGE.min(self.limits.max_message_size.saturating_add(1)).min(self.limits.hold.unwrap_or(LARGE));
        let Some((opcode, payload)) = self.frames.take_small(input, most)? else { return Ok(None) };
        match opcode {
            Opcode::Text => String::from_utf8(payload).map(Message::Text).map_err(|_| Violation::Utf8).map(Some),
            _ => Ok(Some(Message::Binary(payload.into()))),
        }
    }

    /// Bytes of the current frame's payload that have not arrived, or are in the input buffer.
    fn remaining(&self) -> usize {
        let in_place = self.message.as_ref().map_or(0, |message| message.data.len() - message.unmasked);
        usize::try_from(self.frames.remaining()).unwrap_or(usize::MAX) - in_place
    }

    fn begin_frame(&mut self, input: &mut BytesMut) -> Result<Option<FrameHeader>, Violation> {
        let Some(header) = self.frames.next_header(input)? else { return Ok(None) };
        match (header.opcode, &mut self.message) {
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Continuation, None) => return Err(Violation::StrayContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::NestedMessage),
            (Opcode::Text | Opcode::Binary, None) => {
                let claim = match self.limits.hold {
                    _ if self.discards => Claim::Discarded,
                    Some(_) => Claim::Open,
                    None => Claim::Whole,
                };
                let message = self.message.insert(Assembly::new(header.opcode == Opcode::Text, claim));
                message.is_compressed = header.is_compressed;
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
        }
        if let Some(message) = &mut self.message
            && !header.opcode.is_control()
            && !message.is_compressed
        {
            message.size = message.size.saturating_add(header.length);
        }
        self.frame = Some(header);
        Ok(self.frame)
    }

    /// Checks the sizes that the current frame has announced, or that were inflated, against the limit of the message's
    /// claim.
    fn check_size(&self, header: FrameHeader) -> Result<(), Violation> {
        let Some(message) = &self.message else { return Ok(()) };
        let (size, limit) = match message.claim {
            Claim::Open => return Ok(()),
            Claim::Discarded if self.discards => return Ok(()),
            Claim::Whole => (message.size, self.limits.max_message_size as u64),
            Claim::Frame if message.is_compressed => (message.data.len() as u64, self.limits.max_message_size as u64),
            Claim::Frame => (header.length, self.limits.max_message_size as u64),
            Claim::Pieces | Claim::Discarded => (message.size, self.limits.max_stream_size),
        };
        if size > limit { Err(Violation::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// Moves the bytes that have arrived of the current frame into the message; returns whether those were all.
    fn read_payload(&mut self, is_final: bool, input: &mut BytesMut) -> Result<bool, Violation> {
        let remaining = self.remaining();
        let Some(message) = &mut self.message else { return Ok(true) };
        let count = remaining.min(input.len());
        if message.claim == Claim::Discarded {
            let in_place = std::mem::take(&mut message.data).len();
            input.advance(count);
            self.turn = self.turn.saturating_sub(in_place + count);
            self.frames.skip((in_place + count) as u64);
            return Ok(self.frames.remaining() == 0);
        }
        let most = remaining.min(message.capacity(self.limits.hold).max(count));
        message.take(count, most, input);
        self.frames.take(&mut message.data[message.unmasked..]);
        // The piece of payload that has arrived is unmasked here, and neither checked nor handed out.
        message.unmasked = message.data.len();
        let ended = self.frames.remaining() == 0;
        // Text in one frame is checked once, when it becomes a `String`.
        if message.is_text && !(ended && is_final && !message.is_split) {
            message.check_utf8()?;
        }
        Ok(ended)
    }

    /// Inflates the bytes that have arrived of the current frame into the message, as far as its claim allows; returns
    /// whether those were all.
    fn inflate_payload(&mut self, header: FrameHeader, input: &mut BytesMut) -> Result<bool, Violation> {
        let arrived = usize::try_from(self.frames.remaining()).unwrap_or(usize::MAX).min(input.len() - self.unmasked);
        let (Some(message), Some(inflater)) = (&mut self.message, &mut self.inflater) else { return Ok(true) };
        if message.claim == Claim::Discarded && (self.discards || !inflater.has_takeover()) {
            // No later message refers to it.
            inflater.clear();
            input.advance(std::mem::take(&mut self.unmasked) + arrived);
            self.frames.skip(arrived as u64);
            self.turn = self.turn.saturating_sub(arrived);
            return Ok(self.frames.remaining() == 0);
        }
        self.frames.take(&mut input[self.unmasked..self.unmasked + arrived]);
        self.unmasked += arrived;
        let ended = self.frames.remaining() == 0;
        loop {
            let most = message.capacity_inflated(&self.limits);
            let (before, mut piece) = (message.data.len(), &input[..self.unmasked]);
            let mut is_done = inflater.inflate(&mut piece, most, &mut message.data)?;
            if is_done && ended && header.is_final {
                is_done = inflater.finish(most - (message.data.len() - before), &mut message.data)?;
            }
            let consumed = self.unmasked - piece.len();
            input.advance(consumed);
            self.unmasked -= consumed;
            message.size += (message.data.len() - before) as u64;
            if message.claim == Claim::Discarded {
                self.turn = self.turn.saturating_sub(message.data.len());
                message.data.clear();
                if !is_done && self.turn > 0 && message.size <= self.limits.max_stream_size {
                    continue;
                }
                self.check_size(header)?;
                return Ok(is_done && ended);
            }
            message.unmasked = message.data.len();
            if message.is_text && !(is_done && ended && header.is_final && !message.is_split) {
                message.check_utf8()?;
            }
            // Of a message that nobody has claimed, the end does not arrive before the claim decides on the limit.
            let waits_for_claim = message.claim == Claim::Open && message.size > self.limits.max_message_size as u64;
            self.check_size(header)?;
            return Ok(is_done && ended && !waits_for_claim);
        }
    }
}

fn control_message(opcode: Opcode, payload: Vec<u8>) -> Result<Message, Violation> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(Bytes::from(payload))),
        Opcode::Pong => Ok(Message::Pong(Bytes::from(payload))),
        _ => CloseInfo::parse(&payload).map(Message::Close),
    }
}
