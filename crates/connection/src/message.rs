//! Messages, and which of them may be sent.

use crate::Error;
use bytes::Bytes;
use std::ops::RangeInclusive;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;
/// The longest reason of a close frame, in bytes of UTF-8: a control payload less the code.
const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// One WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping, at most 125 bytes. The driver answers a received one; nobody else needs to.
    Ping(Bytes),
    /// A pong, at most 125 bytes.
    Pong(Bytes),
    /// A close frame. Sending one is closing the connection.
    Close(CloseInfo),
}

/// One WebSocket message whose payload is elsewhere.
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
    /// A close frame. Sending one is closing the connection.
    Close(&'a CloseInfo),
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
}

impl MessageRef<'_> {
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

    /// Whether it is text or binary.
    pub(crate) fn is_data(&self) -> bool {
        matches!(self, MessageRef::Text(_) | MessageRef::Binary(_))
    }

    /// Whether a connection that allows messages of `max_message_size` bytes may send this one.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a data message over the limit or a control payload over 125
    /// bytes.
    pub(crate) fn check_sendable(&self, max_message_size: usize) -> Result<(), Error> {
        match self {
            MessageRef::Text(_) | MessageRef::Binary(_) if self.len() > max_message_size => {
                Err(Error::InvalidMessage(format!(
                    "{} bytes are more than this connection's largest message, {max_message_size} bytes; send less at \
                     once or connect with a larger max-message-size",
                    self.len()
                )))
            }
            MessageRef::Ping(data) | MessageRef::Pong(data) if data.len() > MAX_CONTROL_PAYLOAD => {
                Err(Error::InvalidMessage(format!(
                    "a ping or pong carries at most {MAX_CONTROL_PAYLOAD} bytes, not {}",
                    data.len()
                )))
            }
            MessageRef::Close(info) => info.check_sendable(),
            _ => Ok(()),
        }
    }
}

/// The status code (RFC 6455 section 7.4) and the reason that a close frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseInfo {
    /// The code; 1005 where a received frame carried none.
    pub code: u16,
    /// The reason, at most 123 bytes of UTF-8.
    pub reason: Option<String>,
}

/// What a received close frame without a code is reported as (RFC 6455 section 7.1.5).
pub(crate) const NO_STATUS: u16 = 1005;

/// Every code that a close frame may carry, in either direction: those that RFC 6455 section 7.4.1 and its registry
/// define for the wire, and those for libraries and applications. 1004, 1005, 1006 and 1015 never travel, and 1016 to
/// 2999 are reserved.
const CLOSE_CODES: [RangeInclusive<u16>; 3] = [1000..=1003, 1007..=1014, 3000..=4999];

impl CloseInfo {
    /// Whether a close frame may carry this code, sent or received.
    pub(crate) fn is_valid_code(code: u16) -> bool {
        CLOSE_CODES.iter().any(|codes| codes.contains(&code))
    }

    /// Whether an endpoint may send this (RFC 6455 section 7.4).
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] that names the code or the reason's length.
    pub(crate) fn check_sendable(&self) -> Result<(), Error> {
        if !CloseInfo::is_valid_code(self.code) {
            return Err(Error::InvalidMessage(format!(
                "close code {} may not be sent (RFC 6455 section 7.4); use 1000, or one of your own from 3000 to 4999",
                self.code
            )));
        }
        let length = self.reason.as_ref().map_or(0, String::len);
        if length > MAX_CLOSE_REASON {
            return Err(Error::InvalidMessage(format!(
                "a close reason is at most {MAX_CLOSE_REASON} bytes of UTF-8, not {length}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(code: u16, reason: Option<&str>) -> Result<(), Error> {
        MessageRef::Close(&CloseInfo { code, reason: reason.map(Into::into) }).check_sendable(0)
    }

    #[test]
    fn close_codes_that_may_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, u16::MAX] {
            assert!(close(code, None).is_err(), "{code}");
        }
        for code in [1000, 1001, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(close(code, None), Ok(()), "{code}");
        }
    }

    #[test]
    fn reasons_and_control_payloads_have_their_limits_in_bytes() {
        assert_eq!(close(1000, Some(&"r".repeat(123))), Ok(()));
        assert!(close(1000, Some(&"é".repeat(62))).is_err());
        assert_eq!(MessageRef::Ping(&[0; 125]).check_sendable(0), Ok(()));
        assert!(MessageRef::Ping(&[0; 126]).check_sendable(1000).is_err());
        assert!(MessageRef::Pong(&[0; 126]).check_sendable(1000).is_err());
    }

    #[test]
    fn the_message_limit_is_inclusive() {
        assert_eq!(MessageRef::Text("four").check_sendable(4), Ok(()));
        assert!(MessageRef::Binary(&[0; 5]).check_sendable(4).is_err());
    }
}
