//! Messages that are sent to many connections.

use super::{MessageKind, MessageRef};
use crate::{
    deflate::Compressor,
    frame::{FrameHeader, MAX_HEADER, Payload},
};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A text or binary message that is sent to many connections. It is framed once for all servers, and compressed once for each
/// set of parameters that connections without context takeover use (RFC 7692 section 7.1.1). A client masks each copy
/// (RFC 6455 section 5.3). Clones share the work, and the memory.
#[derive(Debug, Clone)]
pub struct PreparedMessage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: MessageKind,
    plain: Encoded,
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
    /// The header, and its size in bytes. Not in one buffer with the payload, which is not copied to prepare a message.
    header: ([u8; MAX_HEADER], usize),
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
        let plain = Encoded::new(kind, payload, false);
        PreparedMessage { inner: Arc::new(Inner { kind, plain, compressed: Mutex::new(Vec::new()) }) }
    }

    /// The kind of the message.
    pub fn kind(&self) -> MessageKind {
        self.inner.kind
    }

    /// The payload, as it was given.
    pub fn payload(&self) -> &Bytes {
        &self.inner.plain.payload
    }

    /// How many times the message was compressed so far: once for each set of parameters. A connection with context takeover
    /// compresses its copy itself, which does not count.
    pub fn compressions(&self) -> usize {
        self.variants().len()
    }

    /// A message with this payload. Its kind is binary, because text would have to be checked again.
    pub(crate) fn as_binary(&self) -> MessageRef<'_> {
        MessageRef::Binary(self.payload())
    }

    pub(crate) fn plain(&self) -> &Encoded {
        &self.inner.plain
    }

    /// The compressed message; `None` if it would be larger. `compressor` is one without context takeover.
    pub(crate) fn compressed(&self, compressor: &mut Compressor) -> Option<Encoded> {
        let (window_bits, level) = (compressor.window_bits(), compressor.level());
        // Locked while it compresses: others wait for the result instead of repeating the work.
        let mut all = self.variants();
        if let Some(variant) = all.iter().find(|other| other.window_bits == window_bits && other.level == level) {
            return variant.encoded.clone();
        }
        let mut payload = BytesMut::new();
        let is_smaller = compressor.message(self.payload(), &mut payload);
        let encoded = is_smaller.then(|| Encoded::new(self.kind(), payload.freeze(), true));
        all.push(Variant { window_bits, level, encoded: encoded.clone() });
        encoded
    }

    fn variants(&self) -> MutexGuard<'_, Vec<Variant>> {
        self.inner.compressed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoded {
    pub(crate) fn new(kind: MessageKind, payload: Bytes, is_compressed: bool) -> Self {
        let (opcode, length) = (kind.opcode(), payload.len() as u64);
        let mut header = [0; MAX_HEADER];
        let mut unused = &mut header[..];
        FrameHeader { opcode, is_final: true, is_compressed, mask: None, length }.write(&mut unused);
        let size = MAX_HEADER - unused.len();
        Encoded { header: (header, size), payload, is_compressed }
    }

    fn header(&self) -> &[u8] {
        &self.header.0[..self.header.1]
    }

    /// Appends the frame's header to `output`. The whole [`Payload`] must follow before anything else.
    pub(crate) fn begin(&self, output: &mut BytesMut) -> Payload<'_> {
        Payload::begin(self.header(), &self.payload, output)
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
        assert_eq!(first.payload.as_ptr(), second.payload.as_ptr());
        assert_eq!(encoded[2].payload.as_ptr(), encoded[4].payload.as_ptr());
        assert_eq!(message.clone().compressions(), 3);
        assert_eq!(first.header(), [0xC1, first.payload.len() as u8]);
        assert_eq!(message.plain().header(), [0x81, 126, 1000u16.to_be_bytes()[0], 1000u16.to_be_bytes()[1]]);
        assert_eq!(message.kind(), MessageKind::Text);
        // What is not worth compressing is found out once.
        let noise = PreparedMessage::binary(&[0x5A, 3, 77, 140, 9][..]);
        assert!(noise.compressed(&mut Compressor::new(15, 6, false)).is_none());
        assert!(noise.compressed(&mut Compressor::new(15, 6, false)).is_none());
        assert_eq!(noise.compressions(), 1);
    }
}
