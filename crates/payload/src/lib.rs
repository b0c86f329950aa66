//! The payloads of the pointer-payload ABI, byte by byte. A host and a guest encode and decode them with the
//! same code: without `std`, and for any target that has an allocator.
//!
//! Numbers are little-endian. A string, and bytes, follow their length, a number of four bytes. An optional
//! value follows 0 or 1. Nothing is aligned or padded. Every payload has exactly one form: what
//! decodes is encoded to the same bytes.
//!
//! | payload | the host | the guest |
//! | --- | --- | --- |
//! | of a request, [`Request`] | encodes | decodes |
//! | of the response to it, [`Response`] | decodes | encodes |
//! | of a message, [`Message`] | both | both |
//! | of an open or a close of a socket, [`encode_id`], [`decode_id`] | both | both |
//! | of a session, [`Session`] | encodes | decodes |
//! | of the data for a session, [`NewSession`] | decodes | encodes |
//! | of the name of a store, [`encode_name`], [`decode_name`] | decodes | encodes |
//! | of a call of a store, [`StoreCall`] | decodes | encodes |
//! | of its answer, [`StoreAnswer`] | encodes | decodes |
//!
//! A message for a socket, as a guest hands it over in the shipped dialect:
//!
//! ```
//! use websocket_payload_abi::{Dialect, Kind, Message};
//!
//! let message = Message { id: 7, kind: Kind::Text("hello".to_owned()) };
//! let payload = message.encode(Dialect::Shipped).concat();
//! assert_eq!(payload, *b"\x07\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0hello");
//! ```

#![cfg_attr(not(test), no_std)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

extern crate alloc;

mod field;
mod request;
mod response;
mod session;
mod socket;
mod store;
#[cfg(test)]
mod tests;

pub use request::{Body, Field, Fields, File, Request};
pub use response::Response;
pub use session::{NewSession, Session};
pub use socket::{Kind, MESSAGE_HEAD, Message, SocketId, decode_id, encode_id, set_receiver};
pub use store::{StoreAnswer, StoreCall, decode_name, encode_name};

use alloc::string::String;
use core::{error::Error, fmt};

/// How sockets are called: which parameters `websocketSend` and `websocketClose` have, and which number
/// stands for which kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The calls have a pointer to their payload; 0 is bytes and 1 is text.
    Proposal,
    /// The calls have no parameter, their payload is what was sent last; 0 is text and 1 is bytes.
    Shipped,
}

/// How requests and sessions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// A file is only its bytes, and a body is text or a form.
    Older,
    /// A file has a name and a type, and a body may be bytes or JSON.
    Newer,
}

/// Why bytes are not the payload that they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadError {
    /// Where, counted from the payload's first byte.
    pub offset: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of the payload: {}", self.offset, self.what)
    }
}

impl Error for PayloadError {}
