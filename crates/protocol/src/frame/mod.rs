//! Frames (RFC 6455 section 5.2): their headers, masks, and the checks that hold for each frame by itself.

mod header;
mod mask;
mod reader;
mod writer;

pub use header::{FrameHeader, MAX_HEADER, Opcode};
pub use mask::apply_mask;
pub use reader::FrameReader;
pub use writer::{FrameWriter, Payload};

use bytes::Bytes;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// One frame with its payload, unmasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The opcode.
    pub opcode: Opcode,
    /// Whether the frame is the last one of its message.
    pub is_final: bool,
    /// The payload.
    pub payload: Bytes,
}
