//! What goes both ways about a socket.

use super::{
    Dialect, PayloadError,
    field::{Reader, Writer},
};
use alloc::{format, string::String};
use bytes::{Bytes, BytesMut};

/// The number of a socket, which the guest chose; another instance may use the same.
pub type SocketId = u64;

/// How many bytes of a message's payload come before its data.
pub const MESSAGE_HEAD: usize = 16;

/// A message of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whose it is.
    pub id: SocketId,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of message, whose numbers depend on the [`Dialect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Kind {
    /// Bytes of the data.
    pub fn len(&self) -> usize {
        match self {
            Kind::Text(text) => text.len(),
            Kind::Binary(data) => data.len(),
        }
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn number(&self, dialect: Dialect) -> u32 {
        match (dialect, self) {
            (Dialect::Proposal, Kind::Binary(_)) | (Dialect::Shipped, Kind::Text(_)) => 0,
            (Dialect::Proposal, Kind::Text(_)) | (Dialect::Shipped, Kind::Binary(_)) => 1,
        }
    }
}

impl Message {
    /// The payload, in two parts: what comes before the data, and the data, which is not copied.
    pub fn encode(self, dialect: Dialect) -> [Bytes; 2] {
        let mut head = BytesMut::with_capacity(MESSAGE_HEAD);
        head.long(self.id);
        head.number(self.kind.number(dialect));
        let data = match self.kind {
            Kind::Text(text) => Bytes::from(text),
            Kind::Binary(data) => data,
        };
        head.length(data.len());
        [head.freeze(), data]
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that [`Message::encode`] does not give.
    pub fn decode(payload: &Bytes, dialect: Dialect) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let id = reader.u64("the socket's number")?;
        let kind = match (reader.u32("the kind of message")?, dialect) {
            (0, Dialect::Shipped) | (1, Dialect::Proposal) => Kind::Text(reader.string("the text")?),
            (1, Dialect::Shipped) | (0, Dialect::Proposal) => {
                Kind::Binary(payload.slice_ref(reader.bytes("the bytes")?))
            }
            (other, _) => return Err(reader.error(4, format!("no kind of message is {other}"))),
        };
        reader.end()?;
        Ok(Message { id, kind })
    }
}

/// Changes the socket that the payload of a message names, so that a message for many sockets is encoded once.
/// A payload too short for a socket's number stays as it is.
pub fn set_receiver(payload: &mut [u8], id: SocketId) {
    if let Some(receiver) = payload.first_chunk_mut() {
        *receiver = id.to_le_bytes();
    }
}

/// The payload of an open and of a close.
pub fn encode_id(id: SocketId) -> Bytes {
    Bytes::copy_from_slice(&id.to_le_bytes())
}

/// Reads the payload of an open and of a close.
///
/// # Errors
/// [`PayloadError`] for bytes that are not one number.
pub fn decode_id(payload: &[u8]) -> Result<SocketId, PayloadError> {
    let mut reader = Reader::new(payload);
    let id = reader.u64("the socket's number")?;
    reader.end()?;
    Ok(id)
}
