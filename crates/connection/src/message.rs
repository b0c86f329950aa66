//! Messages, and which of them may be sent.

use crate::Error;
use bytes::Bytes;

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

impl Message {
    /// The payload's length in bytes; for a close frame, that of its code and reason.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => data.len(),
            Message::Close(info) => 2 + info.reason.as_ref().map_or(0, String::len),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a connection that allows messages of `max_message_size` bytes may send this one.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a data message over the limit or a control payload over 125
    /// bytes.
    pub(crate) fn check_sendable(&self, max_message_size: usize) -> Result<(), Error> {
        match self {
            Message::Text(_) | Message::Binary(_) if self.len() > max_message_size => {
                Err(Error::InvalidMessage(format!(
                    "{} bytes are more than this connection's largest message, {max_message_size} bytes; send less at \
                     once or connect with a larger max-message-size",
                    self.len()
                )))
            }
            Message::Ping(data) | Message::Pong(data) if data.len() > MAX_CONTROL_PAYLOAD => {
                Err(Error::InvalidMessage(format!(
                    "a ping or pong carries at most {MAX_CONTROL_PAYLOAD} bytes, not {}",
                    data.len()
                )))
            }
            Message::Close(info) => info.check_sendable(),
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

impl CloseInfo {
    /// Whether a peer may send this code: one that RFC 6455 section 7.4 or its registry defines, or one
    /// for libraries and applications.
    pub(crate) fn is_receivable(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether an endpoint may send this (RFC 6455 section 7.4).
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] that names the code or the reason's length.
    pub(crate) fn check_sendable(&self) -> Result<(), Error> {
        if !(1000..5000).contains(&self.code) || matches!(self.code, 1004 | 1005 | 1006 | 1015) {
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

    fn close(code: u16, reason: Option<&str>) -> Message {
        Message::Close(CloseInfo { code, reason: reason.map(Into::into) })
    }

    #[test]
    fn close_codes_that_may_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 5000, u16::MAX] {
            assert!(close(code, None).check_sendable(0).is_err(), "{code}");
        }
        for code in [1000, 1001, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(close(code, None).check_sendable(0), Ok(()), "{code}");
        }
    }

    #[test]
    fn reasons_and_control_payloads_have_their_limits_in_bytes() {
        assert_eq!(close(1000, Some(&"r".repeat(123))).check_sendable(0), Ok(()));
        assert!(close(1000, Some(&"é".repeat(62))).check_sendable(0).is_err());
        assert_eq!(Message::Ping(vec![0; 125].into()).check_sendable(0), Ok(()));
        assert!(Message::Ping(vec![0; 126].into()).check_sendable(1000).is_err());
        assert!(Message::Pong(vec![0; 126].into()).check_sendable(1000).is_err());
    }

    #[test]
    fn the_message_limit_is_inclusive() {
        assert_eq!(Message::Text("four".into()).check_sendable(4), Ok(()));
        assert!(Message::Binary(vec![0; 5].into()).check_sendable(4).is_err());
    }
}
