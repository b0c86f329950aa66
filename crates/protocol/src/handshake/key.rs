//! The key and the accept value of the opening handshake (RFC 6455 sections 1.3, 4.1 and 4.2).

use data_encoding::BASE64;
use sha1::{Digest, Sha1};

/// What is appended to the key before it is hashed (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Key` of a client's handshake, made of 16 random bytes.
pub fn key(random: [u8; 16]) -> String {
    BASE64.encode(&random)
}

/// The `Sec-WebSocket-Accept` with which a server answers this `Sec-WebSocket-Key`.
pub fn accept_value(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64.encode(&hash.finalize())
}

/// Whether this is base64 of 16 bytes. The four spare bits of the last letter may be anything: they are not zero in the
/// key that RFC 6455 section 4.1 prints.
pub(super) fn is_key(key: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.strip_suffix(b"==").is_some_and(|letters| letters.len() == 22 && letters.iter().all(is_letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }
}
