//! Payloads byte by byte: packed, little-endian, a string behind its length of four bytes.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

/// The number of a socket. The guest chooses it when it upgrades a request.
pub(crate) type SocketId = u64;

/// What the guest reads of a request.
pub(crate) struct Request {
    url: String,
}

impl Request {
    /// Reads a request as far as its URL; body, path, query, headers and cookies follow.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (section, rest) = number(payload)?;
        let (url, _) = string(rest)?;
        (section == 0).then(|| Request { url: url.to_owned() })
    }

    /// The URL's path, whether or not the URL begins with a scheme and an authority.
    pub(crate) fn path(&self) -> &str {
        let path = match self.url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => &self.url,
        };
        path.split(['?', '#']).next().unwrap_or(path)
    }
}

/// An answer to a request, as the payload that the host gets.
pub(crate) struct Response(Vec<u8>);

impl Response {
    /// A text of this media type.
    pub(crate) fn text(status: u32, media_type: &str, body: &str) -> Self {
        let mut payload = Vec::new();
        put_number(&mut payload, 0);
        put_string(&mut payload, body);
        put_number(&mut payload, status);
        // JSON: the media types of this guest have nothing to escape.
        put_string(&mut payload, &format!(r#"{{"content-type":"{media_type}"}}"#));
        Response(payload)
    }

    /// An error, said in plain text.
    pub(crate) fn error(status: u32, body: &str) -> Self {
        let mut payload = Vec::new();
        put_number(&mut payload, 4);
        put_number(&mut payload, 1); // a body follows
        put_string(&mut payload, body);
        put_number(&mut payload, status);
        put_number(&mut payload, 0); // no page of a framework follows
        Response(payload)
    }

    /// The request becomes the WebSocket of this number, which must be none that is open.
    pub(crate) fn upgrade(id: SocketId) -> Self {
        let mut payload = Vec::new();
        put_number(&mut payload, 7);
        payload.extend(id.to_le_bytes());
        Response(payload)
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.0
    }
}

/// A message of a socket.
pub(crate) struct Message<'a> {
    pub(crate) id: SocketId,
    pub(crate) data: Data<'a>,
}

/// What a message says, by its kind.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl Data<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Data::Text(text) => text.len(),
            Data::Binary(data) => data.len(),
        }
    }
}

impl<'a> Message<'a> {
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (id, rest) = payload.split_first_chunk()?;
        let (kind, rest) = number(rest)?;
        let data = match kind {
            0 => Data::Text(string(rest)?.0),
            1 => Data::Binary(bytes(rest)?.0),
            _ => return None,
        };
        Some(Message { id: SocketId::from_le_bytes(*id), data })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, data) = match self.data {
            Data::Text(text) => (0, text.as_bytes()),
            Data::Binary(data) => (1, data),
        };
        let mut payload = Vec::with_capacity(16 + data.len());
        payload.extend(self.id.to_le_bytes());
        put_number(&mut payload, kind);
        put_bytes(&mut payload, data);
        payload
    }
}

/// Names another receiver in the payload of a message, whose number comes first.
pub(crate) fn address(message: &mut [u8], id: SocketId) {
    if let Some(receiver) = message.first_chunk_mut() {
        *receiver = id.to_le_bytes();
    }
}

/// Reads the payload of an open and of a close.
pub(crate) fn decode_id(payload: &[u8]) -> Option<SocketId> {
    payload.try_into().ok().map(SocketId::from_le_bytes)
}

// Each gives what it read, and what follows.

fn number(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = payload.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn bytes(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(payload)?;
    rest.split_at_checked(length as usize)
}

fn string(payload: &[u8]) -> Option<(&str, &[u8])> {
    let (bytes, rest) = bytes(payload)?;
    Some((core::str::from_utf8(bytes).ok()?, rest))
}

fn put_number(payload: &mut Vec<u8>, number: u32) {
    payload.extend(number.to_le_bytes());
}

fn put_bytes(payload: &mut Vec<u8>, bytes: &[u8]) {
    // No length in a memory of 32 bits is too long for it.
    put_number(payload, bytes.len() as u32);
    payload.extend_from_slice(bytes);
}

fn put_string(payload: &mut Vec<u8>, text: &str) {
    put_bytes(payload, text.as_bytes());
}
