//! Messages to frames (RFC 6455 section 5.4) over a [`FrameWriter`]. Each message is sent as one frame.

use super::MessageRef;
use crate::{
    RandomSource, Role,
    frame::{FrameWriter, Opcode, Payload},
};
use bytes::BytesMut;

/// Writes the messages of one end of a connection.
#[derive(Debug)]
pub struct MessageWriter {
    frames: FrameWriter,
}

impl MessageWriter {
    /// A writer for the end that plays `role`. A client asks `random` for the mask of each frame.
    pub fn new(role: Role, random: RandomSource) -> Self {
        MessageWriter { frames: FrameWriter::new(role, random) }
    }

    /// Appends a whole message to `output`.
    pub fn message(&mut self, message: MessageRef<'_>, output: &mut BytesMut) {
        self.begin(message.opcode(), &message.payload(), output).put(usize::MAX, output);
    }

    /// Appends the header of a message with this payload to `output`. The whole [`Payload`] must follow before anything else.
    pub fn begin<'a>(&mut self, opcode: Opcode, payload: &'a [u8], output: &mut BytesMut) -> Payload<'a> {
        self.frames.begin(opcode, true, payload, output)
    }

    pub(crate) fn frames(&mut self) -> &mut FrameWriter {
        &mut self.frames
    }
}
