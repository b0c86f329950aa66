//! The header of a frame as a value, and its encoding (RFC 6455 section 5.2).

use super::MAX_CONTROL_PAYLOAD;
use crate::{Role, Violation};
use bytes::BufMut;

/// The longest header, in bytes: two bytes, a length of eight, and a mask of four.
pub const MAX_HEADER: usize = 14;

/// The reserved bit that permessage-deflate defines (RFC 7692 section 6).
const RSV1: u8 = 0x40;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The close frame.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Opcode {
    /// Whether this is the opcode of a control frame (RFC 6455 section 5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    const fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    const fn from_bits(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            reserved => return Err(Violation::ReservedOpcode(reserved)),
        })
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The opcode.
    pub opcode: Opcode,
    /// Whether the frame is the last one of its message.
    pub is_final: bool,
    /// Whether the frame begins a compressed message: the bit RSV1 of a text or binary frame (RFC 7692 section 6).
    pub is_compressed: bool,
    /// The mask of the payload; `None` for an unmasked frame.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes, at most 2^63 - 1.
    pub length: u64,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; `None` while it is incomplete. Returns the header and its size in bytes.
    ///
    /// # Errors
    /// A [`Violation`] of the rules that hold for each header by itself, whatever came before.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (length, extended) = match second & 0x7F {
            126 => match rest.first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Ok(None),
            },
            length => (u64::from(length), 0),
        };
        let masked = second & 0x80 != 0;
        let mask = match rest[extended..].first_chunk() {
            Some(mask) if masked => Some(*mask),
            None if masked => return Ok(None),
            _ => None,
        };
        if first & 0x30 != 0 {
            return Err(Violation::ReservedBit);
        }
        let header = FrameHeader {
            opcode: Opcode::from_bits(first & 0x0F)?,
            is_final: first & 0x80 != 0,
            is_compressed: first & RSV1 != 0,
            mask,
            length,
        };
        if header.is_compressed && !matches!(header.opcode, Opcode::Text | Opcode::Binary) {
            return Err(Violation::ReservedBit);
        }
        // The most significant bit is 0 (RFC 6455 section 5.2).
        if extended != extended_length(length) || length > i64::MAX as u64 {
            return Err(Violation::Length);
        }
        if header.opcode.is_control() {
            if !header.is_final {
                return Err(Violation::FragmentedControl);
            }
            if length > MAX_CONTROL_PAYLOAD as u64 {
                return Err(Violation::LongControl(length));
            }
        }
        Ok(Some((header, 2 + extended + if masked { 4 } else { 0 })))
    }

    /// Checks that the peer of the end that plays `role` masks what it sends, as RFC 6455 section 5.1 asks of it.
    ///
    /// # Errors
    /// [`Violation::Masked`] and [`Violation::Unmasked`].
    pub fn check_mask(&self, role: Role) -> Result<(), Violation> {
        match (role, self.mask) {
            (Role::Client, Some(_)) => Err(Violation::Masked),
            (Role::Server, None) => Err(Violation::Unmasked),
            _ => Ok(()),
        }
    }

    /// Appends the header's bytes to `output`.
    pub fn write(&self, output: &mut impl BufMut) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let is_final = if self.is_final { 0x80 } else { 0 };
        output.put_u8(self.opcode.bits() | is_final | if self.is_compressed { RSV1 } else { 0 });
        match extended_length(self.length) {
            0 => output.put_u8(masked | self.length as u8),
            2 => {
                output.put_u8(masked | 126);
                output.put_u16(self.length as u16);
            }
            _ => {
                output.put_u8(masked | 127);
                output.put_u64(self.length);
            }
        }
        if let Some(mask) = self.mask {
            output.put_slice(&mask);
        }
    }
}

/// How many bytes the length takes behind the second byte of the header.
const fn extended_length(length: u64) -> usize {
    match length {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = FrameHeader> {
        let length = prop_oneof![0u64..200, 65_000u64..66_000, 0..=i64::MAX as u64];
        let data = prop_oneof![Just(Opcode::Continuation), Just(Opcode::Text), Just(Opcode::Binary)];
        let control = prop_oneof![Just(Opcode::Close), Just(Opcode::Ping), Just(Opcode::Pong)];
        let kind = prop_oneof![(data, any::<bool>(), length), (control, Just(true), 0u64..=125)];
        (kind, any::<Option<[u8; 4]>>(), any::<bool>()).prop_map(|((opcode, is_final, length), mask, compressed)| {
            let is_compressed = compressed && matches!(opcode, Opcode::Text | Opcode::Binary);
            FrameHeader { opcode, is_final, is_compressed, mask, length }
        })
    }

    proptest! {
        #[test]
        fn a_written_header_is_read_back_and_every_part_of_it_is_incomplete(header in headers()) {
            let mut bytes = BytesMut::new();
            header.write(&mut bytes);
            prop_assert!(bytes.len() <= MAX_HEADER);
            prop_assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, bytes.len()))));
            for end in 0..bytes.len() {
                prop_assert_eq!(FrameHeader::parse(&bytes[..end]), Ok(None));
            }
        }

        #[test]
        fn every_header_that_is_accepted_is_written_the_same_way(bytes: [u8; MAX_HEADER]) {
            if let Ok(Some((header, size))) = FrameHeader::parse(&bytes) {
                let mut written = BytesMut::new();
                header.write(&mut written);
                prop_assert_eq!(&written[..], &bytes[..size]);
            }
        }
    }

    #[test]
    fn an_invalid_header_is_a_violation() {
        for (bytes, violation) in [
            (&[0xC0, 0][..], Violation::ReservedBit),
            (&[0xC8, 0], Violation::ReservedBit),
            (&[0xC9, 0], Violation::ReservedBit),
            (&[0xE1, 0], Violation::ReservedBit),
            (&[0xA1, 0], Violation::ReservedBit),
            (&[0x91, 0], Violation::ReservedBit),
            (&[0x83, 0], Violation::ReservedOpcode(3)),
            (&[0x8B, 0], Violation::ReservedOpcode(11)),
            (&[0x09, 0], Violation::FragmentedControl),
            (&[0x89, 126, 0, 126], Violation::LongControl(126)),
            (&[0x82, 126, 0, 1], Violation::Length),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Violation::Length),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
        ] {
            assert_eq!(FrameHeader::parse(bytes), Err(violation), "{bytes:02X?}");
        }
    }

    #[test]
    fn a_client_masks_and_a_server_does_not() {
        let header = |mask| FrameHeader { opcode: Opcode::Text, is_final: true, is_compressed: false, mask, length: 0 };
        assert_eq!(header(None).check_mask(Role::Client), Ok(()));
        assert_eq!(header(Some([0; 4])).check_mask(Role::Server), Ok(()));
        assert_eq!(header(Some([0; 4])).check_mask(Role::Client), Err(Violation::Masked));
        assert_eq!(header(None).check_mask(Role::Server), Err(Violation::Unmasked));
    }
}
