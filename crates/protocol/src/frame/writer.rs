//! Frames to bytes.

use super::{FrameHeader, MAX_HEADER, Opcode, apply_mask};
use crate::{RandomSource, Role};
use bytes::BytesMut;
use std::fmt;

/// Up to this many bytes of a payload get space in the output together with the header.
const RESERVED: usize = 16 * 1024;

/// Writes the frames of one end of a connection; masks them if it is the client.
pub struct FrameWriter {
    role: Role,
    random: RandomSource,
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("role", &self.role).finish_non_exhaustive()
    }
}

impl FrameWriter {
    /// A writer for the end that plays `role`. A client asks `random` for the mask of each frame.
    pub fn new(role: Role, random: RandomSource) -> Self {
        FrameWriter { role, random }
    }

    /// Appends a frame's header to `output`. The whole [`Payload`] must follow before any other frame.
    pub fn begin<'a>(
        &mut self,
        opcode: Opcode,
        is_final: bool,
        payload: &'a [u8],
        output: &mut BytesMut,
    ) -> Payload<'a> {
        self.begin_frame(opcode, is_final, false, payload, output)
    }

    fn begin_frame<'a>(
        &mut self,
        opcode: Opcode,
        is_final: bool,
        is_compressed: bool,
        payload: &'a [u8],
        output: &mut BytesMut,
    ) -> Payload<'a> {
        let mask = match self.role {
            Role::Client => Some((self.random)()),
            Role::Server => None,
        };
        output.reserve(MAX_HEADER + payload.len().min(RESERVED));
        FrameHeader { opcode, is_final, is_compressed, mask, length: payload.len() as u64 }.write(output);
        Payload { remaining: payload, mask }
    }

    /// Appends a whole frame to `output`.
    pub fn frame(&mut self, opcode: Opcode, is_final: bool, payload: &[u8], output: &mut BytesMut) {
        self.begin(opcode, is_final, payload, output).put(usize::MAX, output);
    }

    /// Appends a whole frame of a compressed message to `output`. The first one has the bit RSV1, and a continuation has
    /// not (RFC 7692 section 6.1).
    pub fn compressed(&mut self, opcode: Opcode, is_final: bool, payload: &[u8], output: &mut BytesMut) {
        let is_first = opcode != Opcode::Continuation;
        self.begin_frame(opcode, is_final, is_first, payload, output).put(usize::MAX, output);
    }

    /// Four random bytes for another purpose than a mask.
    pub(crate) fn random(&mut self) -> [u8; 4] {
        (self.random)()
    }
}

/// The payload of a frame whose header is written. Masked while it is copied to the output, so that a payload in a guest's
/// memory is copied once.
#[derive(Debug)]
pub struct Payload<'a> {
    remaining: &'a [u8],
    mask: Option<[u8; 4]>,
}

impl<'a> Payload<'a> {
    /// Appends the header of an unmasked frame to `output`, as it was written before.
    pub(crate) fn begin(header: &[u8], payload: &'a [u8], output: &mut BytesMut) -> Self {
        output.reserve(header.len() + payload.len().min(RESERVED));
        output.extend_from_slice(header);
        Payload { remaining: payload, mask: None }
    }

    /// How many bytes are still to be appended.
    pub(crate) fn remaining(&self) -> usize {
        self.remaining.len()
    }

    /// Appends up to `most` of the remaining bytes to `output`. `most` is a multiple of 4, the length of a mask, unless
    /// nothing follows.
    pub fn put(&mut self, most: usize, output: &mut BytesMut) {
        let (piece, remaining) = self.remaining.split_at(self.remaining.len().min(most));
        debug_assert!(piece.len() % 4 == 0 || remaining.is_empty());
        self.remaining = remaining;
        let start = output.len();
        output.extend_from_slice(piece);
        if let Some(mask) = self.mask {
            apply_mask(&mut output[start..], mask, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameReader};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_written_frame_is_read_by_the_other_end(
            payload in proptest::collection::vec(any::<u8>(), 0..70_000), is_final: bool, client: bool,
            first in (0usize..20_000).prop_map(|words| 4 * words),
        ) {
            let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
            let mut output = BytesMut::new();
            let mut frame = FrameWriter::new(from, Box::new(|| [9, 8, 7, 6]));
            let mut rest = frame.begin(Opcode::Binary, is_final, &payload, &mut output);
            rest.put(first, &mut output);
            rest.put(usize::MAX, &mut output);
            let read = FrameReader::new(to, usize::MAX).next_frame(&mut output);
            prop_assert_eq!(read, Ok(Some(Frame { opcode: Opcode::Binary, is_final, payload: payload.into() })));
            prop_assert!(output.is_empty());
        }
    }
}
