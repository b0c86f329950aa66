//! Compressing what one end sends (RFC 7692 section 7.2.1).

use super::{
    TAIL,
    history::History,
    pool::{Key, PooledCompressor, with_output},
};
use bytes::BytesMut;
use zlib_rs::{Deflate, DeflateFlush};

/// How many bytes of earlier messages a compressor refers to. Each costs 2 ns per message; with 4 KiB, a message of
/// 1 KiB takes as long as without context takeover.
const MAX_HISTORY: usize = 4 * 1024;

/// Bytes of earlier messages that a compressor with this window keeps.
pub(super) fn history_size(window_bits: u8) -> usize {
    MAX_HISTORY.min(1 << window_bits)
}

/// Compresses messages, whole or in pieces. It holds a compressor of zlib only within a message.
#[derive(Debug)]
pub struct Compressor {
    key: Key,
    history: Option<History>,
    /// In use within a message that is compressed in pieces.
    active: Option<PooledCompressor>,
}

impl Compressor {
    /// `window_bits` from 9 to 15, `level` from 1 to 9; other values become the nearest of these. With `takeover`,
    /// messages refer to the messages before.
    pub fn new(window_bits: u8, level: u8, takeover: bool) -> Self {
        let window_bits = window_bits.clamp(super::MIN_WINDOW_BITS, super::MAX_WINDOW_BITS);
        Compressor {
            key: Key { window_bits, level: level.clamp(1, 9) },
            history: takeover.then(|| History::new(history_size(window_bits))),
            active: None,
        }
    }

    /// Whether messages refer to the messages before. If not, the same message is always compressed to the same bytes.
    pub fn has_takeover(&self) -> bool {
        self.history.is_some()
    }

    /// Appends the compressed form of a whole message to `output`. Returns `false`, and appends nothing, if it is not
    /// smaller than `payload`: the message is then sent uncompressed. Call it between messages only.
    pub fn message(&mut self, payload: &[u8], output: &mut BytesMut) -> bool {
        debug_assert!(self.active.is_none(), "within another message");
        let start = output.len();
        let compressor = &mut self.begin();
        let is_complete = compressor.get().is_some_and(|deflate| compress(deflate, payload, output));
        if !is_complete || output.len() - start >= payload.len() + TAIL.len() || !output.ends_with(&TAIL) {
            // The history is that of compressed messages only, so this message never was.
            output.truncate(start);
            return false;
        }
        output.truncate(output.len() - TAIL.len());
        self.remember(payload);
        true
    }

    /// Appends the compressed form of the next piece of a message to `output`, so that the peer can inflate the piece
    /// before the next one is sent.
    pub fn piece(&mut self, piece: &[u8], is_final: bool, output: &mut BytesMut) {
        let mut compressor = self.active.take().unwrap_or_else(|| self.begin());
        let start = output.len();
        let is_complete = compressor.get().is_some_and(|deflate| compress(deflate, piece, output));
        debug_assert!(is_complete);
        self.remember(piece);
        if !is_final {
            self.active = Some(compressor);
        } else if output.len() == start {
            // Nothing was left to flush. This byte begins an empty block, which the tail completes (section 7.2.3.6).
            output.extend_from_slice(&[0]);
        } else {
            output.truncate(output.len() - TAIL.len());
        }
    }

    fn begin(&self) -> PooledCompressor {
        let mut compressor = PooledCompressor::take(self.key);
        if let (Some(history), Some(deflate)) = (&self.history, compressor.get())
            && !history.bytes().is_empty()
        {
            let set = deflate.set_dictionary(history.bytes());
            debug_assert!(set.is_ok());
        }
        compressor
    }

    fn remember(&mut self, payload: &[u8]) {
        if let Some(history) = &mut self.history {
            history.push(payload);
        }
    }

    pub(super) fn memory_held(&self) -> usize {
        self.history.as_ref().map_or(0, History::memory_held) + self.active.as_ref().map_or(0, PooledCompressor::size)
    }
}

/// Compresses `input` and flushes, so that the output ends with [`TAIL`] unless there was nothing to flush. Returns
/// whether that worked; it fails only in an inconsistent state, which safe code cannot bring about.
fn compress(deflate: &mut Deflate, mut input: &[u8], output: &mut BytesMut) -> bool {
    with_output(|buffer| {
        loop {
            let (consumed, produced) = (deflate.total_in(), deflate.total_out());
            if deflate.compress(input, buffer, DeflateFlush::SyncFlush).is_err() {
                return false;
            }
            input = &input[(deflate.total_in() - consumed) as usize..];
            let produced = (deflate.total_out() - produced) as usize;
            output.extend_from_slice(&buffer[..produced]);
            if produced < buffer.len() {
                return input.is_empty();
            }
        }
    })
}
