//! Frames to messages (RFC 6455 sections 5.4 and 8.1): a [`FrameReader`] under an assembler.

use super::Message;
use crate::{
    CloseInfo, Role, Violation,
    frame::{FrameHeader, FrameReader, Opcode},
};
use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

/// A payload of at least this many bytes is not copied out of the buffer that it was read into, and the remainder of such
/// a payload is read straight into the message. Fuzzers reach that with little input.
const LARGE: usize = if cfg!(fuzzing) { 64 } else { 16 * 1024 };

/// The bit of an opcode that control frames have and data frames have not (RFC 6455 section 5.5).
const CONTROL_BIT: u8 = 0x08;

/// Reads the messages that one end of a connection receives. The caller owns the input buffer.
///
/// A message's size is checked when a frame announces it; memory for it grows only with the bytes that have arrived. Text
/// is checked as it arrives, so that a message fails at its first invalid byte.
#[derive(Debug)]
pub struct MessageReader {
    frames: FrameReader,
    max_message_size: usize,
    /// The frame whose payload is being read.
    frame: Option<FrameHeader>,
    /// The text or binary message that is being assembled.
    message: Option<Assembly>,
}

#[derive(Debug)]
struct Assembly {
    is_text: bool,
    data: BytesMut,
    /// How much of `data` is unmasked. Bytes behind that were read straight into the message.
    unmasked: usize,
    /// How much of `data` was checked to be whole UTF-8 characters.
    checked: usize,
}

impl MessageReader {
    /// A reader for the end that plays `role`, with a limit in bytes for assembled messages.
    pub fn new(role: Role, max_message_size: usize) -> Self {
        MessageReader { frames: FrameReader::new(role), max_message_size, frame: None, message: None }
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

    /// Forgets the message being assembled, and its memory.
    pub fn clear(&mut self) {
        self.message = None;
    }

    /// Bytes of memory that the message being assembled holds.
    pub fn reserved(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.data.capacity())
    }

    /// Where to read the bytes that follow, when the input buffer is empty: the message that is being assembled, if much
    /// of the current frame's payload is still to come. `None`: into the input buffer.
    pub fn read_in_place(&mut self) -> Option<Limit<&mut BytesMut>> {
        let remaining = self.remaining();
        match &mut self.message {
            Some(message) if remaining >= LARGE && self.frame.is_some_and(|frame| !frame.opcode.is_control()) => {
                if message.data.len() == message.data.capacity() {
                    message.reserve(LARGE, remaining);
                }
                Some((&mut message.data).limit(remaining))
            }
            _ => None,
        }
    }

    /// Takes the next message out of `input`, control frames included; `None` when it needs more bytes.
    ///
    /// # Errors
    /// A [`Violation`], after which nothing more can be read.
    pub fn next_message(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Violation> {
        loop {
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
                return control_message(header.opcode, payload).map(Some);
            }
            if !self.read_payload(header.is_final, input)? {
                return Ok(None);
            }
            self.frame = None;
            if header.is_final
                && let Some(message) = self.message.take()
            {
                return message.finish().map(Some);
            }
        }
    }

    /// Bytes of the current frame's payload that have not arrived, or are in the input buffer.
    fn remaining(&self) -> usize {
        let in_place = self.message.as_ref().map_or(0, |message| message.data.len() - message.unmasked);
        // It fits: the size of a data frame was checked against a limit that is a `usize`.
        self.frames.remaining() as usize - in_place
    }

    fn begin_frame(&mut self, input: &mut BytesMut) -> Result<Option<FrameHeader>, Violation> {
        let Some(header) = self.frames.next_header(input)? else { return Ok(None) };
        let begun = match (header.opcode, &self.message) {
            (Opcode::Continuation, Some(message)) => message.data.len(),
            (Opcode::Continuation, None) => return Err(Violation::StrayContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::NestedMessage),
            (Opcode::Text | Opcode::Binary, None) => {
                let is_text = header.opcode == Opcode::Text;
                self.message = Some(Assembly { is_text, data: BytesMut::new(), unmasked: 0, checked: 0 });
                0
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                self.frame = Some(header);
                return Ok(self.frame);
            }
        };
        let size = header.length.saturating_add(begun as u64);
        if size > self.max_message_size as u64 {
            return Err(Violation::TooLarge { size, limit: self.max_message_size });
        }
        self.frame = Some(header);
        Ok(self.frame)
    }

    /// Moves the bytes that have arrived of the current frame into the message; returns whether those were all.
    fn read_payload(&mut self, is_final: bool, input: &mut BytesMut) -> Result<bool, Violation> {
        let remaining = self.remaining();
        let Some(message) = &mut self.message else { return Ok(true) };
        message.take(remaining.min(input.len()), remaining, input);
        self.frames.take(&mut message.data[message.unmasked..]);
        message.unmasked = message.data.len();
        let ended = self.frames.remaining() == 0;
        // Text in one frame is checked once, when it becomes a `String`.
        if message.is_text && !(ended && is_final) {
            message.check_utf8()?;
        }
        Ok(ended)
    }
}

impl Assembly {
    /// Moves `count` bytes out of `input`, of a frame that has `remaining` to come. A large beginning takes the buffer with it.
    fn take(&mut self, count: usize, remaining: usize, input: &mut BytesMut) {
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
    fn reserve(&mut self, count: usize, remaining: usize) {
        let free = self.data.capacity() - self.data.len();
        if free < count {
            let ahead = if count == remaining { count } else { remaining.min(count + 15 * self.data.len()) };
            self.data.reserve(ahead);
        }
    }

    /// Checks the characters that have arrived whole (RFC 6455 section 8.1).
    fn check_utf8(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }

    fn finish(self) -> Result<Message, Violation> {
        if self.is_text {
            String::from_utf8(self.data.into()).map(Message::Text).map_err(|_| Violation::Utf8)
        } else {
            Ok(Message::Binary(self.data.freeze()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MessageRef, message::MessageWriter};
    use proptest::prelude::*;

    fn read(role: Role, wire: &[u8]) -> Result<Vec<Message>, Violation> {
        let (mut reader, mut input) = (MessageReader::new(role, 1000), BytesMut::from(wire));
        std::iter::from_fn(|| reader.next_message(&mut input).transpose()).collect()
    }

    fn violation(wire: &[u8]) -> Violation {
        read(Role::Client, wire).unwrap_err()
    }

    #[test]
    fn invalid_sequences_of_frames_are_violations() {
        for (wire, expected) in [
            (&[0x80, 0x00][..], Violation::StrayContinuation),
            (&[0x01, 0x00, 0x81, 0x00], Violation::NestedMessage),
            (&[0x01, 0x00, 0x82, 0x00], Violation::NestedMessage),
            (&[0x81, 0x00, 0x80, 0x00], Violation::StrayContinuation),
            (&[0x81, 0x80, 0, 0, 0, 0], Violation::Masked),
            (&[0x88, 0x01, 0x03], Violation::HalfCloseCode),
            (&[0x88, 0x02, 0x03, 0xED], Violation::CloseCode(1005)),
            (&[0x88, 0x02, 0x07, 0xD0], Violation::CloseCode(2000)),
        ] {
            assert_eq!(violation(wire), expected, "{wire:02X?}");
        }
        assert_eq!(read(Role::Server, &[0x81, 0x00]), Err(Violation::Unmasked));
    }

    #[test]
    fn text_fails_at_its_first_invalid_byte() {
        assert_eq!(violation(&[0x81, 0x02, 0xC3, 0x28]), Violation::Utf8);
        // Most of the frame, and the message's end, are still to come.
        assert_eq!(violation(&[0x01, 0x7D, b'a', 0xF8]), Violation::Utf8);
        assert_eq!(violation(&[0x88, 0x03, 0x03, 0xE8, 0xFF]), Violation::Utf8);
        // A fragment may cut a character, the end of the message may not.
        let cut = [0x01, 0x02, b'a', 0xC3, 0x80, 0x01, 0xA9];
        assert_eq!(read(Role::Client, &cut), Ok(vec![Message::Text("aé".into())]));
        assert_eq!(violation(&[0x01, 0x02, b'a', 0xC3, 0x80, 0x00]), Violation::Utf8);
    }

    #[test]
    fn the_size_limit_counts_the_assembled_message() {
        let too_large = |size| Violation::TooLarge { size, limit: 1000 };
        assert_eq!(violation(&[0x82, 0x7E, 0x03, 0xE9]), too_large(1001));
        assert_eq!(violation(&[0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0]), too_large(1 << 63));
        let mut wire = vec![0x02, 0x7E, 0x03, 0xE8];
        wire.extend([0; 1000]);
        wire.extend([0x80, 0x01]);
        assert_eq!(violation(&wire), too_large(1001));
    }

    #[test]
    fn an_announced_size_reserves_nothing() {
        let mut reader = MessageReader::new(Role::Client, usize::MAX);
        let mut input = BytesMut::from(&[0x82, 0x7F, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3][..]);
        assert_eq!(reader.next_message(&mut input), Ok(None));
        assert!(reader.reserved() < 64, "{}", reader.reserved());
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let wire = [0x01, 0x01, b'a', 0x89, 0x01, b'p', 0x80, 0x01, b'b', 0x88, 0x00];
        assert_eq!(
            read(Role::Client, &wire).unwrap(),
            [
                Message::Ping("p".into()),
                Message::Text("ab".into()),
                Message::Close(CloseInfo { code: 1005, reason: None })
            ]
        );
    }

    fn messages() -> impl Strategy<Value = Message> {
        let control = || proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Bytes::from);
        let code = prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..5000];
        prop_oneof![
            any::<String>().prop_map(Message::Text),
            proptest::collection::vec(any::<u8>(), 0..70_000).prop_map(|data| Message::Binary(data.into())),
            control().prop_map(Message::Ping),
            control().prop_map(Message::Pong),
            (code, proptest::option::of("[a-zé€]{1,20}"))
                .prop_map(|(code, reason)| Message::Close(CloseInfo { code, reason })),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_arrive_as_they_were_sent_however_the_bytes_are_cut(
            sent in proptest::collection::vec(messages(), 1..5),
            cut in prop_oneof![1usize..3000, 3000usize..80_000],
            client: bool, first in (0usize..20_000).prop_map(|words| 4 * words),
        ) {
            let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
            let mut output = BytesMut::new();
            let mut writer = MessageWriter::new(from, Box::new(|| [3, 1, 4, 1]));
            for message in &sent {
                let payload = MessageRef::from(message).payload();
                let mut payload = writer.begin(MessageRef::from(message).opcode(), &payload, &mut output);
                [first, usize::MAX].iter().for_each(|most| payload.put(*most, &mut output));
            }
            let wire = output.freeze();
            let (mut reader, mut input, mut received) = (MessageReader::new(to, 1 << 20), BytesMut::new(), Vec::new());
            for mut part in wire.chunks(cut) {
                while !part.is_empty() {
                    match reader.read_in_place() {
                        Some(mut buffer) if input.is_empty() => {
                            let count = part.len().min(buffer.chunk_mut().len());
                            buffer.put_slice(part.split_off(..count).unwrap());
                        }
                        _ => input.extend_from_slice(std::mem::take(&mut part)),
                    }
                    while let Some(message) = reader.next_message(&mut input).unwrap() {
                        received.push(message);
                    }
                }
            }
            prop_assert_eq!(received, sent);
            prop_assert!(input.is_empty() && !reader.is_within_message());
        }

        #[test]
        fn no_input_panics_or_makes_the_reader_reserve_more_than_it_read(
            wire in proptest::collection::vec(any::<u8>(), 0..200), client: bool,
        ) {
            let mut reader = MessageReader::new(if client { Role::Client } else { Role::Server }, usize::MAX);
            let mut input = BytesMut::from(&wire[..]);
            while let Ok(Some(_)) = reader.next_message(&mut input) {}
            prop_assert!(reader.reserved() <= 4096);
        }
    }
}
