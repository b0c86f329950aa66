//! Messages (RFC 6455 section 5.4): assembled from frames when received, written as frames when sent.

mod assembly;
#[cfg(test)]
mod compression_tests;
mod prepared;
mod reader;
mod utf8;
mod writer;

pub use prepared::PreparedMessage;
pub use reader::{Claim, MessageReader, ReadLimits, Unit};
pub(crate) use utf8::Utf8Check;
pub use writer::MessageWriter;

use crate::{
    CloseInfo,
    close::{MAX_REASON, NO_STATUS},
    frame::{Frame, MAX_CONTROL_PAYLOAD, Opcode},
};
use bytes::Bytes;
use std::borrow::Cow;

/// One WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping, at most 125 bytes. The connection answers a received one by itself.
    Ping(Bytes),
    /// A pong, at most 125 bytes.
    Pong(Bytes),
    /// A close frame. To send one is to close the connection.
    Close(CloseInfo),
}

/// The kind of a message that carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

impl MessageKind {
    /// The opcode of the message's first frame.
    pub fn opcode(self) -> Opcode {
        match self {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}

/// One WebSocket message with a borrowed payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRef<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A ping, at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, at most 125 bytes.
    Pong(&'a [u8]),
    /// A close frame. To send one is to close the connection.
    Close(&'a CloseInfo),
}

/// Why a message cannot be sent. Nothing of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// The message is over the size limit, both in bytes.
    #[error("{size} bytes are more than this connection's largest message, {limit} bytes")]
    TooLarge {
        /// The size of the message.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The payload of a ping or pong, of this many bytes, is over 125 bytes (RFC 6455 section 5.5).
    #[error("a ping or pong carries at most {MAX_CONTROL_PAYLOAD} bytes, not {0}")]
    LongControl(usize),
    /// A close frame was given to a function that sends other messages.
    #[error("a close frame is sent by closing the connection")]
    CloseFrame,
    /// A close frame may not carry this code (RFC 6455 section 7.4).
    #[error("close code {0} may not be sent (RFC 6455 section 7.4); use 1000, or one of your own from 3000 to 4999")]
    CloseCode(u16),
    /// The reason of a close frame, of this many bytes, is over 123 bytes (RFC 6455 section 5.5).
    #[error("a close reason is at most {MAX_REASON} bytes of UTF-8, not {0}")]
    CloseReason(usize),
    /// The payload of a close frame is not a close code and UTF-8 (RFC 6455 section 5.5.1).
    #[error("a close frame carries nothing, or a close code and UTF-8 (RFC 6455 section 5.5.1)")]
    ClosePayload,
    /// The frame is over the size limit, both in bytes.
    #[error("{size} bytes are more than this connection's largest frame, {limit} bytes")]
    FrameTooLarge {
        /// The size of the frame's payload.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Text that is sent in pieces or frames is not UTF-8 (RFC 6455 section 8.1).
    #[error("a text message is UTF-8, and these bytes are not")]
    Utf8,
    /// A control frame is not final (RFC 6455 section 5.5).
    #[error("a control frame is never fragmented (RFC 6455 section 5.5)")]
    FragmentedControl,
    /// A continuation frame without a message to continue (RFC 6455 section 5.4).
    #[error("a continuation frame continues a message, and none has begun (RFC 6455 section 5.4)")]
    StrayContinuation,
    /// A text or binary frame before the message of the last one has ended (RFC 6455 section 5.4).
    #[error("the message before has not ended; send continuation frames until one is final (RFC 6455 section 5.4)")]
    NestedMessage,
}

impl<'a> From<&'a Message> for MessageRef<'a> {
    fn from(message: &'a Message) -> Self {
        match message {
            Message::Text(text) => MessageRef::Text(text),
            Message::Binary(data) => MessageRef::Binary(data),
            Message::Ping(data) => MessageRef::Ping(data),
            Message::Pong(data) => MessageRef::Pong(data),
            Message::Close(info) => MessageRef::Close(info),
        }
    }
}

/// A text message.
impl<'a> From<&'a str> for MessageRef<'a> {
    fn from(text: &'a str) -> Self {
        MessageRef::Text(text)
    }
}

/// A text message.
impl<'a> From<&'a String> for MessageRef<'a> {
    fn from(text: &'a String) -> Self {
        MessageRef::Text(text)
    }
}

/// A binary message.
impl<'a> From<&'a [u8]> for MessageRef<'a> {
    fn from(data: &'a [u8]) -> Self {
        MessageRef::Binary(data)
    }
}

/// A binary message.
impl<'a, const N: usize> From<&'a [u8; N]> for MessageRef<'a> {
    fn from(data: &'a [u8; N]) -> Self {
        MessageRef::Binary(data)
    }
}

/// A binary message.
impl<'a> From<&'a Vec<u8>> for MessageRef<'a> {
    fn from(data: &'a Vec<u8>) -> Self {
        MessageRef::Binary(data)
    }
}

/// A binary message.
impl<'a> From<&'a Bytes> for MessageRef<'a> {
    fn from(data: &'a Bytes) -> Self {
        MessageRef::Binary(data)
    }
}

impl From<MessageRef<'_>> for Message {
    fn from(message: MessageRef<'_>) -> Self {
        match message {
            MessageRef::Text(text) => Message::Text(text.to_owned()),
            MessageRef::Binary(data) => Message::Binary(Bytes::copy_from_slice(data)),
            MessageRef::Ping(data) => Message::Ping(Bytes::copy_from_slice(data)),
            MessageRef::Pong(data) => Message::Pong(Bytes::copy_from_slice(data)),
            MessageRef::Close(info) => Message::Close(info.clone()),
        }
    }
}

impl Message {
    /// The payload's length in bytes; for a close frame, that of its code and reason.
    pub fn len(&self) -> usize {
        MessageRef::from(self).len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one frame that carries this message.
    pub(crate) fn into_frame(self) -> Frame {
        let opcode = MessageRef::from(&self).opcode();
        let payload = match self {
            Message::Text(text) => text.into(),
            Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => data,
            Message::Close(info) if info.code == NO_STATUS => Bytes::new(),
            Message::Close(info) => info.payload().into(),
        };
        Frame { opcode, is_final: true, payload }
    }
}

impl<'a> MessageRef<'a> {
    /// The payload's length in bytes; for a close frame, that of its code and reason.
    pub fn len(&self) -> usize {
        match self {
            MessageRef::Text(text) => text.len(),
            MessageRef::Binary(data) | MessageRef::Ping(data) | MessageRef::Pong(data) => data.len(),
            MessageRef::Close(info) => 2 + info.reason.as_ref().map_or(0, String::len),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a text or a binary message.
    pub fn is_data(&self) -> bool {
        matches!(self, MessageRef::Text(_) | MessageRef::Binary(_))
    }

    /// The opcode of the message's first frame.
    pub fn opcode(&self) -> Opcode {
        match self {
            MessageRef::Text(_) => Opcode::Text,
            MessageRef::Binary(_) => Opcode::Binary,
            MessageRef::Ping(_) => Opcode::Ping,
            MessageRef::Pong(_) => Opcode::Pong,
            MessageRef::Close(_) => Opcode::Close,
        }
    }

    /// The payload; only that of a close frame is made here.
    pub(crate) fn payload(&self) -> Cow<'a, [u8]> {
        match self {
            MessageRef::Text(text) => text.as_bytes().into(),
            MessageRef::Binary(data) | MessageRef::Ping(data) | MessageRef::Pong(data) => (*data).into(),
            MessageRef::Close(info) => info.payload().into(),
        }
    }

    /// Checks that this message may be sent over a connection that allows messages of `max_message_size` bytes.
    ///
    /// # Errors
    /// [`InvalidMessage`].
    pub fn check_sendable(&self, max_message_size: usize) -> Result<(), InvalidMessage> {
        match self {
            MessageRef::Text(_) | MessageRef::Binary(_) if self.len() > max_message_size => {
                Err(InvalidMessage::TooLarge { size: self.len() as u64, limit: max_message_size as u64 })
            }
            MessageRef::Ping(data) | MessageRef::Pong(data) if data.len() > MAX_CONTROL_PAYLOAD => {
                Err(InvalidMessage::LongControl(data.len()))
            }
            MessageRef::Close(info) => info.check_sendable(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_become_messages() {
        for text in [MessageRef::from("a"), (&"a".to_owned()).into(), (&Message::Text("a".to_owned())).into()] {
            assert_eq!(text, MessageRef::Text("a"));
        }
        for data in [MessageRef::from(b"a"), (&b"a"[..]).into(), (&vec![b'a']).into(), (&Bytes::from("a")).into()] {
            assert_eq!(data, MessageRef::Binary(b"a"));
        }
        let ping = Message::Ping(Bytes::from("a"));
        assert_eq!(MessageRef::from(&ping), MessageRef::Ping(b"a"));
    }

    #[test]
    fn the_limits_of_messages_are_inclusive_and_in_bytes() {
        assert_eq!(MessageRef::Text("four").check_sendable(4), Ok(()));
        let large = MessageRef::Binary(&[0; 5]).check_sendable(4);
        assert_eq!(large, Err(InvalidMessage::TooLarge { size: 5, limit: 4 }));
        assert_eq!(MessageRef::Ping(&[0; 125]).check_sendable(0), Ok(()));
        for message in [MessageRef::Ping(&[0; 126]), MessageRef::Pong(&[0; 126])] {
            assert_eq!(message.check_sendable(1000), Err(InvalidMessage::LongControl(126)));
        }
        let close = CloseInfo { code: 1005, reason: None };
        assert_eq!(MessageRef::Close(&close).check_sendable(0), Err(InvalidMessage::CloseCode(1005)));
    }
}
