//! Bytes to frames.

use super::{Frame, FrameHeader, Opcode, apply_mask};
use crate::{Role, Violation};
use bytes::{Buf, BytesMut};

/// The first byte of a frame that is a text message by itself, without compression.
const FINAL_TEXT: u8 = 0x81;
/// The same of a binary message.
const FINAL_BINARY: u8 = 0x82;

/// Reads the frames that one end of a connection receives: headers as values, and payloads piece by piece as they arrive.
/// The caller owns the input buffer and decides where payloads go, so that a large one can be read into its place.
///
/// [`FrameReader::next_header`] returns a header; then [`FrameReader::take`] accounts for the payload until
/// [`FrameReader::remaining`] is 0, and the next header can be read.
#[derive(Debug)]
pub struct FrameReader {
    role: Role,
    max_frame_size: usize,
    allows_compression: bool,
    mask: Option<[u8; 4]>,
    /// Bytes of the current payload that were taken, and that are to come.
    taken: u64,
    remaining: u64,
}

impl FrameReader {
    /// A reader for the end that plays `role`, with a limit in bytes for the payloads of text, binary and
    /// continuation frames.
    pub fn new(role: Role, max_frame_size: usize) -> Self {
        FrameReader { role, max_frame_size, allows_compression: false, mask: None, taken: 0, remaining: 0 }
    }

    /// Allows frames that begin compressed messages: permessage-deflate was negotiated (RFC 7692 section 6).
    pub fn allow_compression(&mut self) {
        self.allows_compression = true;
    }

    /// Bytes of the current payload that are still to be taken.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes the next header out of `input`; `None` while it is incomplete, or while payload of the frame before it is
    /// still to be taken.
    ///
    /// # Errors
    /// A [`Violation`], after which nothing more can be read; [`Violation::FrameTooLarge`] as soon as the header announces
    /// more bytes than the limit.
    pub fn next_header(&mut self, input: &mut BytesMut) -> Result<Option<FrameHeader>, Violation> {
        if self.remaining > 0 {
            return Ok(None);
        }
        let Some((header, size)) = self.parse(input)? else { return Ok(None) };
        input.advance(size);
        (self.mask, self.taken, self.remaining) = (header.mask, 0, header.length);
        Ok(Some(header))
    }

    /// Unmasks `piece`, which is what follows of the current payload, and counts it as taken. `piece` is at most
    /// [`FrameReader::remaining`] bytes long.
    pub fn take(&mut self, piece: &mut [u8]) {
        debug_assert!(piece.len() as u64 <= self.remaining);
        if let Some(mask) = self.mask {
            apply_mask(piece, mask, (self.taken % 4) as usize);
        }
        self.taken += piece.len() as u64;
        self.remaining -= piece.len() as u64;
    }

    /// Counts the next `count` bytes of the current payload as taken, which nobody reads. At most
    /// [`FrameReader::remaining`].
    pub fn skip(&mut self, count: u64) {
        debug_assert!(count <= self.remaining);
        self.taken += count;
        self.remaining -= count;
    }

    /// Takes what is left of the current payload out of `input` at once; `None` while `input` does not hold all of it.
    /// For small payloads, those of control frames for one.
    pub fn take_all(&mut self, input: &mut BytesMut) -> Option<Vec<u8>> {
        let length = usize::try_from(self.remaining).ok().filter(|length| *length <= input.len())?;
        // Copied: a slice of the input buffer would keep all of it alive.
        let mut payload = input.split_to(length).to_vec();
        self.take(&mut payload);
        Some(payload)
    }

    /// Takes the payload of a whole text or binary frame that is a message by itself and has less than `most` bytes, at once;
    /// `None` for other frames, and while `input` does not hold all of it.
    pub(crate) fn take_small(
        &mut self,
        input: &mut BytesMut,
        most: usize,
    ) -> Result<Option<(Opcode, Vec<u8>)>, Violation> {
        let &[FINAL_TEXT | FINAL_BINARY, second, ..] = &input[..] else { return Ok(None) };
        if self.remaining > 0 || second & 0x7F == 127 {
            return Ok(None);
        }
        let Some((header, size)) = self.parse(input)? else { return Ok(None) };
        let length = header.length as usize;
        let Some(payload) = input.get(size..size + length).filter(|_| length < most) else { return Ok(None) };
        let mut payload = payload.to_vec();
        if let Some(mask) = header.mask {
            apply_mask(&mut payload, mask, 0);
        }
        input.advance(size + length);
        Ok(Some((header.opcode, payload)))
    }

    /// Reads a whole frame; `None` while `input` does not hold all of it, and then takes nothing.
    ///
    /// # Errors
    /// As [`FrameReader::next_header`].
    pub fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let Some((header, size)) = self.parse(input)? else { return Ok(None) };
        if ((input.len() - size) as u64) < header.length {
            return Ok(None);
        }
        self.next_header(input)?;
        let payload = self.take_all(input).unwrap_or_default().into();
        Ok(Some(Frame { opcode: header.opcode, is_final: header.is_final, payload }))
    }

    /// Reads the header at the start of `input` and checks it.
    fn parse(&self, input: &[u8]) -> Result<Option<(FrameHeader, usize)>, Violation> {
        let Some((header, size)) = FrameHeader::parse(input)? else { return Ok(None) };
        header.check_mask(self.role)?;
        if header.is_compressed && !self.allows_compression {
            return Err(Violation::ReservedBit);
        }
        // Control frames have a limit of their own, which a header alone is checked against.
        if header.length > self.max_frame_size as u64 && !header.opcode.is_control() {
            return Err(Violation::FrameTooLarge { size: header.length, limit: self.max_frame_size });
        }
        Ok(Some((header, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_unmasked_in_whatever_pieces_it_is_taken() {
        let mut input = BytesMut::from(&[0x82, 0x85, 1, 2, 3, 4][..]);
        let mut reader = FrameReader::new(Role::Server, usize::MAX);
        let header = reader.next_header(&mut input).unwrap().unwrap();
        assert_eq!((header.opcode, header.length, input.len()), (Opcode::Binary, 5, 0));
        assert_eq!(reader.next_header(&mut input), Ok(None));
        let (mut first, mut second) = ([1 ^ 7, 2 ^ 7, 3 ^ 7], [4 ^ 7, 1 ^ 7]);
        reader.take(&mut first);
        reader.take(&mut second);
        assert_eq!((first, second, reader.remaining()), ([7; 3], [7; 2], 0));
    }

    #[test]
    fn a_compressed_frame_is_a_violation_unless_compression_was_negotiated() {
        let mut reader = FrameReader::new(Role::Client, usize::MAX);
        let wire = BytesMut::from(&[0xC1, 0][..]);
        assert_eq!(reader.next_header(&mut wire.clone()), Err(Violation::ReservedBit));
        reader.allow_compression();
        assert!(reader.next_header(&mut wire.clone()).unwrap().unwrap().is_compressed);
    }

    #[test]
    fn a_skipped_piece_moves_the_mask_on() {
        let mut input = BytesMut::from(&[0x82, 0x85, 1, 2, 3, 4][..]);
        let mut reader = FrameReader::new(Role::Server, usize::MAX);
        reader.next_header(&mut input).unwrap();
        reader.skip(3);
        let mut last = [4 ^ 7, 1 ^ 7];
        reader.take(&mut last);
        assert_eq!((last, reader.remaining()), ([7; 2], 0));
    }

    #[test]
    fn the_limit_does_not_concern_control_frames() {
        let mut reader = FrameReader::new(Role::Client, 0);
        let mut ping = BytesMut::from(&[&[0x89, 125][..], &[0; 125]].concat()[..]);
        assert_eq!(reader.next_frame(&mut ping).unwrap().unwrap().payload.len(), 125);
    }

    #[test]
    fn a_whole_frame_is_read_once_it_is_there() {
        let wire = [0x89, 0x02, b'h', b'i', 0x81, 0x00];
        let mut reader = FrameReader::new(Role::Client, 2);
        for end in 0..4 {
            let mut input = BytesMut::from(&wire[..end]);
            assert_eq!(reader.next_frame(&mut input), Ok(None));
            assert_eq!(input.len(), end);
        }
        let mut input = BytesMut::from(&wire[..]);
        let ping = Frame { opcode: Opcode::Ping, is_final: true, payload: "hi".into() };
        assert_eq!(reader.next_frame(&mut input), Ok(Some(ping)));
        let text = Frame { opcode: Opcode::Text, is_final: true, payload: "".into() };
        assert_eq!(reader.next_frame(&mut input), Ok(Some(text)));
        let mut large = BytesMut::from(&[0x82, 0x03][..]);
        let violation = Violation::FrameTooLarge { size: 3, limit: 2 };
        assert_eq!(reader.next_frame(&mut large), Err(violation.clone()));
        assert_eq!(reader.next_header(&mut large), Err(violation));
    }
}
