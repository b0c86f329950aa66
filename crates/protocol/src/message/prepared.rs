//! Messages that are sent to many connections.

use super::{MessageKind, MessageRef};
use crate::{
    deflate::Compressor,
    frame::{FrameHeader, MAX_HEADER},
};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A text or binary message that is sent to many connections. It is framed once for all servers, and compressed once for each
/// set of parameters that connections without context takeover use (RFC 7692 section 7.1.1). A client masks each copy
/// (RFC 6455 section 5.3). Clones share the work.
#[derive(Debug, Clone)]
pub struct PreparedMessage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: MessageKind,
    payload: Bytes,
    plain: OnceLock<Encoded>,
    compressed: Mutex<Vec<Variant>>,
}

/// The message as compressors with these parameters compress it.
#[derive(Debug)]
struct Variant {
    window_bits: u8,
    level: u8,
    /// `None` where compression makes the message larger.
    encoded: Option<Encoded>,
}

/// A message in one frame of a server.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) frame: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) is_compressed: bool,
}

impl PreparedMessage {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(MessageKind::Text, text.into().into())
    }

    /// A binary message.
    pub fn binary(data: impl Into<Bytes>) -> Self {
        Self::new(MessageKind::Binary, data.into())
    }

    fn new(kind: MessageKind, payload: Bytes) -> Self {
        let (plain, compressed) = (OnceLock::new(), Mutex::new(Vec::new()));
        PreparedMessage { inner: Arc::new(Inner { kind, payload, plain, compressed }) }
    }

    /// The kind of the message.
    pub fn kind(&self) -> MessageKind {
        self.inner.kind
    }

    /// The payload, as it was given.
    pub fn payload(&self) -> &Bytes {
        &self.inner.payload
    }

    /// A message with this payload. Its kind is binary, because text would have to be checked again.
    pub(crate) fn as_binary(&self) -> MessageRef<'_> {
        MessageRef::Binary(&self.inner.payload)
    }

    pub(crate) fn plain(&self) -> &Encoded {
        self.inner.plain.get_or_init(|| self.encode(&self.inner.payload, false))
    }

    /// The compressed message; `None` if it would be larger. `compressor` is one without context takeover.
    pub(crate) fn compressed(&self, compressor: &mut Compressor) -> Option<Encoded> {
        let (window_bits, level) = (compressor.window_bits(), compressor.level());
        // Locked while it compresses: others wait for the result instead of repeating the work.
        let mut all = self.inner.compressed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variant) = all.iter().find(|other| other.window_bits == window_bits && other.level == level) {
            return variant.encoded.clone();
        }
        let mut payload = BytesMut::new();
        let is_smaller = compressor.message(&self.inner.payload, &mut payload);
        let encoded = is_smaller.then(|| self.encode(&payload, true));
        all.push(Variant { window_bits, level, encoded: encoded.clone() });
        encoded
    }

    fn encode(&self, payload: &[u8], is_compressed: bool) -> Encoded {
        let mut frame = BytesMut::with_capacity(MAX_HEADER + payload.len());
        let (opcode, length) = (self.inner.kind.opcode(), payload.len() as u64);
        FrameHeader { opcode, is_final: true, is_compressed, mask: None, length }.write(&mut frame);
        let header = frame.len();
        frame.extend_from_slice(payload);
        let frame = frame.freeze();
        Encoded { payload: frame.slice(header..), frame, is_compressed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_framed_once_and_compressed_once_for_each_set_of_parameters() {
        let message = PreparedMessage::text("again and ".repeat(100));
        let compressed = |bits, level| message.compressed(&mut Compressor::new(bits, level, false)).unwrap();
        let encoded = [compressed(15, 6), compressed(15, 6), compressed(9, 6), compressed(15, 1), compressed(9, 6)];
        let [first, second, ..] = &encoded;
        assert_eq!(first.frame.as_ptr(), second.frame.as_ptr());
        assert_eq!(encoded[2].frame.as_ptr(), encoded[4].frame.as_ptr());
        assert_eq!(message.clone().inner.compressed.lock().unwrap().len(), 3);
        assert_eq!(message.plain().frame.as_ptr(), message.clone().plain().frame.as_ptr());
        assert_eq!(message.plain().payload, message.payload());
        assert_eq!(message.kind(), MessageKind::Text);
        // What is not worth compressing is found out once.
        let noise = PreparedMessage::binary(&[0x5A, 3, 77, 140, 9][..]);
        assert!(noise.compressed(&mut Compressor::new(15, 6, false)).is_none());
        assert!(noise.compressed(&mut Compressor::new(15, 6, false)).is_none());
        assert_eq!(noise.inner.compressed.lock().unwrap().len(), 1);
    }
}
