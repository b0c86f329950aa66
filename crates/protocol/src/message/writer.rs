//! Messages to frames (RFC 6455 section 5.4) over a [`FrameWriter`]. A message is sent as one frame unless it is larger than
//! a fragment may be. Compression comes before fragmentation (RFC 7692 section 6.1).

use super::{MessageRef, PreparedMessage, prepared::Encoded};
use crate::{
    RandomSource, Role,
    deflate::Compressor,
    frame::{FrameWriter, Opcode, Payload},
};
use bytes::BytesMut;
use std::borrow::Cow;

/// Writes the messages of one end of a connection.
#[derive(Debug)]
pub struct MessageWriter {
    frames: FrameWriter,
    fragment_size: usize,
    deflate: Option<Box<Deflate>>,
}

#[derive(Debug)]
struct Deflate {
    compressor: Compressor,
    min_size: usize,
}

impl MessageWriter {
    /// A writer for the end that plays `role`. A client asks `random` for the mask of each frame. A text or binary message
    /// of more than `fragment_size` bytes is sent in fragments of that size; it is at least 1.
    pub fn new(role: Role, random: RandomSource, fragment_size: usize) -> Self {
        MessageWriter { frames: FrameWriter::new(role, random), fragment_size: fragment_size.max(1), deflate: None }
    }

    /// Compresses text and binary messages of at least `min_size` bytes, unless compression makes them larger.
    pub fn set_compressor(&mut self, compressor: Compressor, min_size: usize) {
        self.deflate = Some(Box::new(Deflate { compressor, min_size }));
    }

    /// Appends a whole message to `output`.
    pub fn message(&mut self, message: MessageRef<'_>, output: &mut BytesMut) {
        if let Some(payload) = self.compress(message) {
            let (mut opcode, mut rest) = (message.opcode(), &payload[..]);
            while !rest.is_empty() {
                rest = &rest[self.compressed_fragment(opcode, rest, true, output)..];
                opcode = Opcode::Continuation;
            }
            return;
        }
        let payload = message.payload();
        if self.is_fragmented(message) {
            let (mut opcode, mut rest) = (message.opcode(), &payload[..]);
            while !rest.is_empty() {
                rest = &rest[self.fragment(opcode, rest, true, output)..];
                opcode = Opcode::Continuation;
            }
        } else {
            self.begin(message.opcode(), &payload, output).put(usize::MAX, output);
        }
    }

    /// The compressed payload of a message that is to be sent compressed, and then must be sent: later messages may refer
    /// to it. `None` for a message that is sent as it is.
    pub fn compress(&mut self, message: MessageRef<'_>) -> Option<BytesMut> {
        let deflate = self.deflate.as_mut().filter(|deflate| message.is_data() && message.len() >= deflate.min_size)?;
        let mut payload = BytesMut::new();
        deflate.compressor.message(&message.payload(), &mut payload).then_some(payload)
    }

    /// Whether a message is compressed that is sent in pieces, of which the first one has `size` bytes.
    pub(crate) fn compresses_pieces(&self, size: usize, is_last: bool) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| !is_last || size >= deflate.min_size)
    }

    /// Appends a piece of a compressed message to `output`, in as many fragments as it takes.
    pub(crate) fn compressed_piece(&mut self, opcode: Opcode, piece: &[u8], is_last: bool, output: &mut BytesMut) {
        let Some(deflate) = &mut self.deflate else { return };
        let mut payload = BytesMut::new();
        deflate.compressor.piece(piece, is_last, &mut payload);
        let (mut opcode, mut rest) = (opcode, &payload[..]);
        while !rest.is_empty() {
            rest = &rest[self.compressed_fragment(opcode, rest, is_last, output)..];
            opcode = Opcode::Continuation;
        }
    }

    /// How a prepared message is sent: compressed as [`MessageWriter::message`] would.
    pub(crate) fn prepared<'a>(&mut self, message: &'a PreparedMessage) -> Cow<'a, Encoded> {
        let size = message.payload().len();
        let compressed = match self.deflate.as_deref_mut().filter(|deflate| size >= deflate.min_size) {
            Some(Deflate { compressor, .. }) if !compressor.has_takeover() => message.compressed(compressor),
            // Each copy refers to other messages.
            Some(_) => {
                let payload = self.compress(message.as_binary());
                payload.map(|payload| Encoded::new(message.kind(), payload.freeze(), true))
            }
            None => None,
        };
        compressed.map_or(Cow::Borrowed(message.plain()), Cow::Owned)
    }

    /// Compresses nothing more, and releases memory.
    pub(crate) fn clear(&mut self) {
        self.deflate = None;
    }

    /// Bytes of memory that the compressor holds.
    pub fn reserved(&self) -> usize {
        self.deflate.as_ref().map_or(0, |deflate| deflate.compressor.memory_held())
    }

    /// Whether this message is sent in fragments: control frames never are (RFC 6455 section 5.5).
    pub fn is_fragmented(&self, message: MessageRef<'_>) -> bool {
        message.is_data() && message.len() > self.fragment_size
    }

    /// Appends the header of a message with this payload to `output`, in one frame. The whole [`Payload`] must follow before
    /// anything else.
    pub fn begin<'a>(&mut self, opcode: Opcode, payload: &'a [u8], output: &mut BytesMut) -> Payload<'a> {
        self.frames.begin(opcode, true, payload, output)
    }

    /// Appends the next fragment of a message to `output`, and returns how many bytes of `rest` it carries. It is the last
    /// one of the message if it carries all of them and `is_last`. The opcode of all but the first is
    /// [`Opcode::Continuation`].
    pub fn fragment(&mut self, opcode: Opcode, rest: &[u8], is_last: bool, output: &mut BytesMut) -> usize {
        let count = rest.len().min(self.fragment_size);
        self.frames.frame(opcode, is_last && count == rest.len(), &rest[..count], output);
        count
    }

    /// [`MessageWriter::fragment`] for a compressed payload.
    pub fn compressed_fragment(&mut self, opcode: Opcode, rest: &[u8], is_last: bool, output: &mut BytesMut) -> usize {
        let count = rest.len().min(self.fragment_size);
        self.frames.compressed(opcode, is_last && count == rest.len(), &rest[..count], output);
        count
    }

    /// The size of a fragment, in bytes.
    pub fn fragment_size(&self) -> usize {
        self.fragment_size
    }

    pub(crate) fn frames(&mut self) -> &mut FrameWriter {
        &mut self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameReader};

    #[test]
    fn a_message_larger_than_a_fragment_is_sent_in_fragments() {
        let mut writer = MessageWriter::new(Role::Server, Box::new(|| [0; 4]), 4);
        let mut output = BytesMut::new();
        for message in [
            MessageRef::Text("abcdefghi"),
            MessageRef::Binary(&[7; 8]),
            MessageRef::Text("four"),
            MessageRef::Ping(b"12345"),
        ] {
            writer.message(message, &mut output);
        }
        writer.message(MessageRef::Binary(b""), &mut output);
        let mut reader = FrameReader::new(Role::Client, usize::MAX);
        let frames: Vec<_> = std::iter::from_fn(|| reader.next_frame(&mut output).unwrap()).collect();
        let frame = |opcode, is_final, payload| Frame { opcode, is_final, payload };
        let expected = [
            frame(Opcode::Text, false, "abcd".into()),
            frame(Opcode::Continuation, false, "efgh".into()),
            frame(Opcode::Continuation, true, "i".into()),
            frame(Opcode::Binary, false, vec![7; 4].into()),
            frame(Opcode::Continuation, true, vec![7; 4].into()),
            frame(Opcode::Text, true, "four".into()),
            frame(Opcode::Ping, true, "12345".into()),
            frame(Opcode::Binary, true, "".into()),
        ];
        assert_eq!(frames, expected);
    }
}
