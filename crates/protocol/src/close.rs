//! Close codes and close frames (RFC 6455 sections 5.5.1 and 7.4).

use crate::{InvalidMessage, Violation, frame::MAX_CONTROL_PAYLOAD};

/// The longest reason of a close frame, in bytes of UTF-8: a control payload less the code.
pub const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - 2;
/// The code that stands for a received close frame without a code (RFC 6455 section 7.1.5). It is never sent.
pub const NO_STATUS: u16 = 1005;

/// Whether a close frame may carry this code, in either direction: 1000 to 1003 and 1007 to 1014, which RFC 6455 section
/// 7.4.1 and its registry define, and 3000 to 4999 for libraries and applications. 1004, 1005, 1006 and 1015 never
/// appear in a frame, and section 7.4.2 reserves 1016 to 2999.
pub const fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The status code and the reason that a close frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseInfo {
    /// The code; [`NO_STATUS`] where a received frame carried none.
    pub code: u16,
    /// The reason, at most [`MAX_REASON`] bytes of UTF-8.
    pub reason: Option<String>,
}

impl CloseInfo {
    /// Checks that a close frame may carry this.
    ///
    /// # Errors
    /// [`InvalidMessage::CloseCode`] and [`InvalidMessage::CloseReason`].
    pub fn check_sendable(&self) -> Result<(), InvalidMessage> {
        if !is_valid_code(self.code) {
            return Err(InvalidMessage::CloseCode(self.code));
        }
        match self.reason.as_ref().map_or(0, String::len) {
            length if length > MAX_REASON => Err(InvalidMessage::CloseReason(length)),
            _ => Ok(()),
        }
    }

    /// Reads the payload of a received close frame.
    ///
    /// # Errors
    /// [`Violation::HalfCloseCode`], [`Violation::CloseCode`] and [`Violation::Utf8`].
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let (code, reason) = match payload {
            [] => return Ok(CloseInfo { code: NO_STATUS, reason: None }),
            [_] => return Err(Violation::HalfCloseCode),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !is_valid_code(code) {
            return Err(Violation::CloseCode(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
        Ok(CloseInfo { code, reason: (!reason.is_empty()).then(|| reason.to_owned()) })
    }

    /// The payload of a close frame that carries this.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend(self.reason.as_deref().unwrap_or_default().as_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_says_which_codes_a_close_frame_may_carry() {
        let valid: Vec<u16> = (0..=u16::MAX).filter(|code| is_valid_code(*code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(valid, expected);
        for code in 0..=u16::MAX {
            let info = CloseInfo { code, reason: None };
            assert_eq!(info.check_sendable().is_ok(), is_valid_code(code), "{code}");
            assert_eq!(CloseInfo::parse(&code.to_be_bytes()).is_ok(), is_valid_code(code), "{code}");
        }
    }

    #[test]
    fn a_close_frame_carries_what_it_was_given() {
        for reason in [None, Some("going away".to_owned()), Some("é".repeat(61))] {
            let info = CloseInfo { code: 1001, reason };
            assert_eq!(info.check_sendable(), Ok(()));
            assert_eq!(CloseInfo::parse(&info.payload()), Ok(info));
        }
        assert_eq!(CloseInfo::parse(&[]), Ok(CloseInfo { code: NO_STATUS, reason: None }));
        assert_eq!(CloseInfo::parse(&[3]), Err(Violation::HalfCloseCode));
        assert_eq!(CloseInfo::parse(&[3, 232, 0xFF]), Err(Violation::Utf8));
    }

    #[test]
    fn a_reason_is_limited_in_bytes() {
        let sendable = |reason: String| CloseInfo { code: 1000, reason: Some(reason) }.check_sendable();
        assert_eq!(sendable("r".repeat(MAX_REASON)), Ok(()));
        assert_eq!(sendable("é".repeat(62)), Err(InvalidMessage::CloseReason(124)));
    }
}
