//! How a peer can violate the protocol.

use crate::deflate::InvalidData;

/// A violation of RFC 6455 or RFC 7692 by the peer. [`Violation::close_code`] is the code of the close frame that the peer is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set that no extension defines (section 5.2).
    #[error("the peer set a reserved bit without an extension")]
    ReservedBit,
    /// A server's frame is masked (section 5.1).
    #[error("the server masked a frame")]
    Masked,
    /// A client's frame is not masked (section 5.1).
    #[error("the client did not mask a frame")]
    Unmasked,
    /// A payload length is not encoded in the fewest bytes, or is more than 2^63 - 1 (section 5.2).
    #[error("the peer encoded the length of a frame in more bytes than it takes, or in 64 bits instead of 63")]
    Length,
    /// The opcode is reserved (section 5.2).
    #[error("the peer sent a frame with the reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A control frame is fragmented (section 5.5).
    #[error("the peer fragmented a control frame")]
    FragmentedControl,
    /// The payload of a control frame, of this many bytes, is over 125 bytes (section 5.5).
    #[error("the peer sent a control frame of {0} bytes; 125 is the most")]
    LongControl(u64),
    /// A continuation frame without a message to continue (section 5.4).
    #[error("the peer continued a message that never began")]
    StrayContinuation,
    /// A new message before the last one ended (section 5.4).
    #[error("the peer began a message within another")]
    NestedMessage,
    /// A close frame with a payload of one byte (section 5.5.1).
    #[error("the peer sent a close frame with half a code")]
    HalfCloseCode,
    /// A close code that no frame may carry (section 7.4).
    #[error("the peer sent a close frame with the code {0}, which none may send")]
    CloseCode(u16),
    /// Text, or the reason of a close frame, that is not UTF-8 (section 8.1).
    #[error("the peer sent text that is not UTF-8")]
    Utf8,
    /// Compressed data that is not valid DEFLATE, or that ends within a block (RFC 7692 section 7.2.2).
    #[error("the peer sent compressed data that is invalid")]
    Deflate,
    /// A message over the size limit, both in bytes (section 10.4). The size of a compressed message is that of its
    /// inflated data.
    #[error("the peer sent a message of at least {size} bytes, and this connection takes {limit}")]
    TooLarge {
        /// The least size that the message has.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A frame over the size limit, both in bytes (section 10.4).
    #[error("the peer sent a frame of {size} bytes, and this connection takes {limit}")]
    FrameTooLarge {
        /// The size that the frame's header announced.
        size: u64,
        /// The limit.
        limit: usize,
    },
}

impl Violation {
    /// The close code for the peer (section 7.4.1): 1007 for text that is not UTF-8 and for invalid
    /// compressed data, 1009 for a message or a frame over its limit, otherwise 1002.
    pub fn close_code(&self) -> u16 {
        match self {
            Violation::Utf8 | Violation::Deflate => 1007,
            Violation::TooLarge { .. } | Violation::FrameTooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

impl From<InvalidData> for Violation {
    fn from(_: InvalidData) -> Self {
        Violation::Deflate
    }
}
