//! Frames to messages (RFC 6455 sections 5 and 8.1), strictly: what breaks the protocol ends in a
//! [`Violation`] that says which close code the peer is owed.

use super::{LARGE, Role, mask};
use crate::{CloseInfo, Error, Message, message::NO_STATUS, record::Outcome};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io::Cursor;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// The close code for a message over the limit (RFC 6455 section 7.4.1).
const TOO_LARGE: u16 = 1009;

/// The bit of an opcode that control frames have and data frames have not (RFC 6455 section 5.5).
const CONTROL: u8 = 0x08;

/// How a peer broke the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code that the peer is sent: 1002, 1007 or 1009.
    pub(crate) code: u16,
    /// What `receive` reports.
    pub(crate) error: Error,
}

impl Violation {
    fn protocol(why: impl Into<String>) -> Self {
        Violation { code: 1002, error: Error::Protocol(why.into()) }
    }

    fn utf8() -> Self {
        Violation { code: 1007, error: Error::Protocol("the peer sent text that is not UTF-8".to_owned()) }
    }

    fn too_large(size: u64, most: usize) -> Self {
        let why = format!("the peer sent a message of at least {size} bytes, and this connection takes {most}");
        Violation { code: TOO_LARGE, error: Error::InvalidMessage(why) }
    }

    /// How a connection ends by this.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.code == TOO_LARGE { Outcome::TooLarge } else { Outcome::Violation }
    }
}

/// Reads the frames that one end of a connection receives, and assembles their messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    role: Role,
    max_message_size: usize,
    /// The data frame being read.
    frame: Option<DataFrame>,
    /// The message being assembled.
    message: Option<Partial>,
}

#[derive(Debug)]
struct DataFrame {
    is_final: bool,
    mask: Option<[u8; 4]>,
    /// Payload bytes read so far, and to come.
    read: usize,
    left: usize,
}

#[derive(Debug)]
struct Partial {
    is_text: bool,
    data: BytesMut,
    /// How much of `data` is unmasked and counted; what is behind that was read into its place.
    counted: usize,
    /// How much of `data` is known to be whole characters.
    valid: usize,
}

impl Decoder {
    /// A decoder for the end that plays `role`, with a limit in bytes for assembled messages.
    pub(crate) fn new(role: Role, max_message_size: usize) -> Self {
        Decoder { role, max_message_size, frame: None, message: None }
    }

    /// Whether a message has begun that has not ended.
    pub(crate) fn is_within_message(&self) -> bool {
        self.message.is_some()
    }

    /// Whether a text or binary message comes next, or goes on. A control frame between its fragments does not.
    pub(crate) fn is_data_next(&self, input: &[u8]) -> bool {
        self.frame.is_some() || input.first().is_some_and(|first| first & CONTROL == 0)
    }

    /// Forgets the message being assembled.
    pub(crate) fn clear(&mut self) {
        (self.frame, self.message) = (None, None);
    }

    /// Bytes of memory that the message being assembled holds.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.data.capacity())
    }

    /// Where to read what comes next when nothing is left of `input`; `None` when it belongs there.
    pub(crate) fn room(&mut self) -> Option<impl BufMut> {
        let (Some(frame), Some(message)) = (&self.frame, &mut self.message) else { return None };
        if frame.left < LARGE {
            return None;
        }
        if message.data.len() == message.data.capacity() {
            message.reserve(LARGE, frame.left);
        }
        Some((&mut message.data).limit(frame.left))
    }

    /// Takes the next message out of `input`; `None` when it needs more bytes than there are.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Violation> {
        loop {
            if self.frame.is_some() {
                if !self.read_payload(input)? {
                    return Ok(None);
                }
                if let Some(message) = self.end_frame()? {
                    return Ok(Some(message));
                }
            }
            let mut cursor = Cursor::new(&input[..]);
            let parsed = FrameHeader::parse(&mut cursor).map_err(|error| Violation::protocol(error.to_string()))?;
            let Some((header, length)) = parsed else { return Ok(None) };
            let start = cursor.position() as usize;
            if start != header.len(length) {
                return Err(Violation::protocol("the peer wrote a frame's length longer than it is"));
            }
            self.check_header(&header)?;
            match header.opcode {
                OpCode::Data(kind) => {
                    self.begin_frame(&header, kind, length)?;
                    input.advance(start);
                }
                OpCode::Control(kind) => {
                    let length = check_control(&header, length)?;
                    if input.len() < start + length {
                        return Ok(None);
                    }
                    input.advance(start);
                    // Copied: a slice of the read buffer would keep all of it alive.
                    let mut payload = input.split_to(length).to_vec();
                    if let Some(key) = header.mask {
                        mask(&mut payload, key, 0);
                    }
                    return control_message(kind, payload).map(Some);
                }
            }
        }
    }

    fn check_header(&self, header: &FrameHeader) -> Result<(), Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::protocol("the peer set a reserved bit without an extension"));
        }
        match (self.role, header.mask) {
            (Role::Client, Some(_)) => Err(Violation::protocol("the server masked a frame")),
            (Role::Server, None) => Err(Violation::protocol("the client did not mask a frame")),
            _ => Ok(()),
        }
    }

    fn begin_frame(&mut self, header: &FrameHeader, kind: Data, length: u64) -> Result<(), Violation> {
        let begun = match (kind, &self.message) {
            (Data::Continue, Some(message)) => message.data.len(),
            (Data::Continue, None) => {
                return Err(Violation::protocol("the peer continued a message that never began"));
            }
            (Data::Text | Data::Binary, Some(_)) => {
                return Err(Violation::protocol("the peer began a message within another"));
            }
            (Data::Text | Data::Binary, None) => {
                self.message =
                    Some(Partial { is_text: kind == Data::Text, data: BytesMut::new(), counted: 0, valid: 0 });
                0
            }
            (Data::Reserved(opcode), _) => return Err(unknown_opcode(opcode)),
        };
        let total = length.saturating_add(begun as u64);
        if total > self.max_message_size as u64 {
            return Err(Violation::too_large(total, self.max_message_size));
        }
        // It fits: the limit is a `usize`.
        self.frame = Some(DataFrame { is_final: header.is_final, mask: header.mask, read: 0, left: length as usize });
        Ok(())
    }

    /// Moves what has arrived of the current frame into its message; says whether that was all.
    fn read_payload(&mut self, input: &mut BytesMut) -> Result<bool, Violation> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else { return Ok(true) };
        message.take(frame.left.min(input.len()), frame.left, input);
        let arrived = message.data.len() - message.counted;
        if let Some(key) = frame.mask {
            mask(&mut message.data[message.counted..], key, frame.read);
        }
        message.counted += arrived;
        frame.read += arrived;
        frame.left -= arrived;
        let ended = frame.left == 0;
        // Text in one piece is checked once, when it becomes a `String`.
        if message.is_text && !(ended && frame.is_final) {
            message.check_utf8()?;
        }
        Ok(ended)
    }

    fn end_frame(&mut self) -> Result<Option<Message>, Violation> {
        match self.frame.take() {
            Some(frame) if frame.is_final => {}
            _ => return Ok(None),
        }
        match self.message.take() {
            Some(Partial { is_text: true, data, .. }) => {
                String::from_utf8(data.into()).map(Message::Text).map(Some).map_err(|_| Violation::utf8())
            }
            Some(Partial { data, .. }) => Ok(Some(Message::Binary(data.freeze()))),
            None => Ok(None),
        }
    }
}

impl Partial {
    /// Takes `count` bytes out of `input`, of a frame that has `left` to come. A large beginning takes the buffer with it.
    fn take(&mut self, count: usize, left: usize, input: &mut BytesMut) {
        if !self.data.is_empty() || count < LARGE || 2 * count < input.capacity() {
            self.reserve(count, left);
            self.data.extend_from_slice(&input[..count]);
            input.advance(count);
        } else if count == input.len() {
            self.data = std::mem::take(input);
        } else {
            self.data = input.split_to(count);
        }
    }

    /// Makes room for `count` bytes of a frame that has `left` to come. Room grows with what has
    /// arrived, to sixteen times of it at the most, never with what was announced.
    fn reserve(&mut self, count: usize, left: usize) {
        let free = self.data.capacity() - self.data.len();
        if free < count {
            let ahead = if count == left { count } else { left.min(count + 15 * self.data.len()) };
            self.data.reserve(ahead);
        }
    }

    /// Checks the characters that have arrived whole (RFC 6455 section 8.1), so that bad text fails
    /// at its first bad byte.
    fn check_utf8(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.data[self.valid..]) {
            Ok(_) => self.valid = self.data.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Violation::utf8()),
        }
        Ok(())
    }
}

fn unknown_opcode(opcode: u8) -> Violation {
    Violation::protocol(format!("the peer sent a frame with the reserved opcode {opcode}"))
}

/// What RFC 6455 section 5.5 asks of control frames; gives the payload's length.
fn check_control(header: &FrameHeader, length: u64) -> Result<usize, Violation> {
    if let OpCode::Control(Control::Reserved(opcode)) = header.opcode {
        return Err(unknown_opcode(opcode));
    }
    if !header.is_final {
        return Err(Violation::protocol("the peer fragmented a control frame"));
    }
    match usize::try_from(length) {
        Ok(length @ ..=125) => Ok(length),
        _ => Err(Violation::protocol(format!("the peer sent a control frame of {length} bytes; 125 is the most"))),
    }
}

fn control_message(kind: Control, payload: Vec<u8>) -> Result<Message, Violation> {
    match kind {
        Control::Ping => Ok(Message::Ping(Bytes::from(payload))),
        Control::Pong => Ok(Message::Pong(Bytes::from(payload))),
        Control::Close => close_info(&payload).map(Message::Close),
        Control::Reserved(opcode) => Err(unknown_opcode(opcode)),
    }
}

/// The code and reason of a received close frame (RFC 6455 sections 5.5.1 and 7.4).
fn close_info(payload: &[u8]) -> Result<CloseInfo, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(CloseInfo { code: NO_STATUS, reason: None }),
        [_] => return Err(Violation::protocol("the peer sent a close frame with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !CloseInfo::is_valid_code(code) {
        return Err(Violation::protocol(format!(
            "the peer sent a close frame with the code {code}, which may not be sent (RFC 6455 section 7.4)"
        )));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::utf8())?;
    Ok(CloseInfo { code, reason: (!reason.is_empty()).then(|| reason.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(role: Role, wire: &[u8]) -> Result<Vec<Message>, Violation> {
        let (mut decoder, mut input) = (Decoder::new(role, 1000), BytesMut::from(wire));
        std::iter::from_fn(|| decoder.decode(&mut input).transpose()).collect()
    }

    fn code_of(wire: &[u8]) -> u16 {
        decode(Role::Client, wire).unwrap_err().code
    }

    #[test]
    fn broken_framing_is_a_protocol_violation() {
        for wire in [
            &[0xC1, 0x00][..],            // a reserved bit
            &[0x81, 0x80, 0, 0, 0, 0],    // masked by a server
            &[0x83, 0x00],                // a reserved data opcode
            &[0x8B, 0x00],                // a reserved control opcode
            &[0x80, 0x00],                // a continuation of nothing
            &[0x01, 0x00, 0x81, 0x00],    // a message within a message
            &[0x09, 0x00],                // a fragmented ping
            &[0x89, 0x7E, 0x00, 0x7E],    // a ping of 126 bytes
            &[0x82, 0x7E, 0x00, 0x01, 0], // a length of one in two bytes
            &[0x88, 0x01, 0x03],          // half a close code
            &[0x88, 0x02, 0x03, 0xED],    // close code 1005
            &[0x88, 0x02, 0x07, 0xD0],    // close code 2000
        ] {
            assert_eq!(code_of(wire), 1002, "{wire:02X?}");
        }
        assert_eq!(decode(Role::Server, &[0x81, 0x00]).unwrap_err().code, 1002);
    }

    #[test]
    fn text_fails_at_its_first_bad_byte() {
        assert_eq!(code_of(&[0x81, 0x02, 0xC3, 0x28]), 1007);
        // Most of the frame, and the message's end, are still to come.
        assert_eq!(code_of(&[0x01, 0x7D, b'a', 0xF8]), 1007);
        assert_eq!(code_of(&[0x88, 0x03, 0x03, 0xE8, 0xFF]), 1007);
        // A character may be cut by a fragment, but not by the message's end.
        let cut = [0x01, 0x02, b'a', 0xC3, 0x80, 0x01, 0xA9];
        assert_eq!(decode(Role::Client, &cut), Ok(vec![Message::Text("aé".into())]));
        assert_eq!(code_of(&[0x01, 0x02, b'a', 0xC3, 0x80, 0x00]), 1007);
    }

    #[test]
    fn the_size_limit_counts_the_assembled_message() {
        assert_eq!(code_of(&[0x82, 0x7E, 0x03, 0xE9]), 1009);
        assert_eq!(code_of(&[0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009);
        let mut wire = vec![0x02, 0x7E, 0x03, 0xE8];
        wire.extend([0; 1000]);
        wire.extend([0x80, 0x01]);
        assert_eq!(code_of(&wire), 1009);
    }

    #[test]
    fn an_announced_size_reserves_nothing() {
        let mut decoder = Decoder::new(Role::Client, usize::MAX);
        let mut input = BytesMut::from(&[0x82, 0x7F, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3][..]);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(decoder.reserved() < 64, "{}", decoder.reserved());
    }

    #[test]
    fn close_codes_are_valid_both_ways_or_neither() {
        for code in 0..=u16::MAX {
            let [high, low] = code.to_be_bytes();
            let received = decode(Role::Client, &[0x88, 0x02, high, low]);
            let info = CloseInfo { code, reason: None };
            assert_eq!(received.is_ok(), info.check_sendable().is_ok(), "{code}");
            assert_eq!(received.is_ok(), matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code}");
        }
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let wire = [0x01, 0x01, b'a', 0x89, 0x01, b'p', 0x80, 0x01, b'b', 0x88, 0x00];
        assert_eq!(
            decode(Role::Client, &wire).unwrap(),
            [
                Message::Ping("p".into()),
                Message::Text("ab".into()),
                Message::Close(CloseInfo { code: 1005, reason: None })
            ]
        );
    }
}
