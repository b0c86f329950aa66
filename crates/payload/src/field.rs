//! The parts that payloads are made of.

use super::PayloadError;
use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use bytes::{BufMut, BytesMut};

/// Reads a payload from its first byte to its last.
pub(super) struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Reader { all, at: 0 }
    }

    /// An error about what begins `back` bytes before the next byte.
    pub(super) fn error(&self, back: usize, what: impl Into<String>) -> PayloadError {
        PayloadError { offset: self.at.saturating_sub(back), what: what.into() }
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], PayloadError> {
        let rest = &self.all[self.at..];
        let Some(taken) = rest.get(..count) else {
            return Err(self.error(0, format!("{what} needs {count} bytes, and {} are left", rest.len())));
        };
        self.at += count;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, PayloadError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4, what)?);
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, PayloadError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8, what)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn bytes(&mut self, what: &str) -> Result<&'a [u8], PayloadError> {
        let length = self.u32(what)?;
        // Too long for this machine is too long for the payload.
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String, PayloadError> {
        let bytes = self.bytes(what)?;
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                Err(self.error(bytes.len() - error.valid_up_to(), format!("{what} is not UTF-8 from here on")))
            }
        }
    }

    pub(super) fn optional<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Self, &str) -> Result<T, PayloadError>,
    ) -> Result<Option<T>, PayloadError> {
        match self.u32(what)? {
            0 => Ok(None),
            1 => read(self, what).map(Some),
            other => Err(self.error(4, format!("{what} begins with 0 or 1, not with {other}"))),
        }
    }

    /// A number that must be this one.
    pub(super) fn tag(&mut self, tag: u32, what: &str) -> Result<(), PayloadError> {
        match self.u32(what)? {
            found if found == tag => Ok(()),
            other => Err(self.error(4, format!("{what} begins with {tag}, not with {other}"))),
        }
    }

    /// As many items as a count says; a count takes no memory before its items come.
    pub(super) fn list<T>(
        &mut self,
        what: &str,
        mut read: impl FnMut(&mut Self) -> Result<T, PayloadError>,
    ) -> Result<Vec<T>, PayloadError> {
        (0..self.u32(what)?).map(|_| read(self)).collect()
    }

    /// Asserts that nothing is left.
    pub(super) fn end(self) -> Result<(), PayloadError> {
        match self.all.len() - self.at {
            0 => Ok(()),
            left => Err(self.error(0, format!("{left} bytes more than the payload has"))),
        }
    }
}

/// Appends the parts of a payload. A length that four bytes cannot say is cut to what they can: no module has
/// memory for so much, and whoever hands it over checks that before.
pub(super) trait Writer {
    fn number(&mut self, number: u32);
    fn long(&mut self, number: u64);
    fn length(&mut self, length: usize);
    fn bytes(&mut self, bytes: &[u8]);

    fn string(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(u32::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

impl Writer for BytesMut {
    fn number(&mut self, number: u32) {
        self.put_u32_le(number);
    }

    fn long(&mut self, number: u64) {
        self.put_u64_le(number);
    }

    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.put_slice(&bytes[..bytes.len().min(u32::MAX as usize)]);
    }
}
