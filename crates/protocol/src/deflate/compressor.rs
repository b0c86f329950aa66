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

/// Compresses messages, whole or in pieces. Between calls it holds only the last bytes of earlier messages, and of the
/// message that is compressed in pieces.
#[derive(Debug)]
pub struct Compressor {
    key: Key,
    takeover: bool,
    history: History,
}

impl Compressor {
    /// `window_bits` from 9 to 15, `level` from 1 to 9; other values become the nearest of these. With `takeover`,
    /// messages refer to the messages before.
    pub fn new(window_bits: u8, level: u8, takeover: bool) -> Self {
        let window_bits = window_bits.clamp(super::MIN_WINDOW_BITS, super::MAX_WINDOW_BITS);
        let key = Key { window_bits, level: level.clamp(1, 9) };
        Compressor { key, takeover, history: History::new(history_size(window_bits)) }
    }

    /// The window, in bits.
    pub fn window_bits(&self) -> u8 {
        self.key.window_bits
    }

    /// The level of compression.
    pub fn level(&self) -> u8 {
        self.key.level
    }

    /// Whether messages refer to the messages before. If not, the same message is always compressed to the same bytes.
    pub fn has_takeover(&self) -> bool {
        self.takeover
    }

    /// Appends the compressed form of a whole message to `output`. Returns `false`, and appends nothing, if it is not
    /// smaller than `payload`: the message is then sent uncompressed. Call it between messages only.
    pub fn message(&mut self, payload: &[u8], output: &mut BytesMut) -> bool {
        let start = output.len();
        let is_complete = self.compress(payload, output) && output.ends_with(&TAIL);
        if !is_complete || output.len() - start >= payload.len() + TAIL.len() {
            // The peer does not inflate this message, so later ones do not refer to it.
            output.truncate(start);
            return false;
        }
        output.truncate(output.len() - TAIL.len());
        if self.takeover {
            self.history.push(payload);
        }
        true
    }

    /// Appends the compressed form of the next piece of a message to `output`, so that the peer can inflate the piece
    /// before the next one is sent. An empty piece is useful only as the last one.
    pub fn piece(&mut self, piece: &[u8], is_last: bool, output: &mut BytesMut) {
        let start = output.len();
        let is_complete = self.compress(piece, output);
        debug_assert!(is_complete);
        if !is_last {
            return self.history.push(piece);
        }
        if output.len() == start {
            // Nothing was left to flush. This byte begins an empty block, which the tail completes (section 7.2.3.6).
            output.extend_from_slice(&[0]);
        } else {
            output.truncate(output.len() - TAIL.len());
        }
        if self.takeover {
            self.history.push(piece);
        } else {
            self.history.clear();
        }
    }

    /// Compresses with reference to the history, at the boundary of a block and of a byte.
    fn compress(&self, payload: &[u8], output: &mut BytesMut) -> bool {
        let mut compressor = PooledCompressor::take(self.key);
        let Some(deflate) = compressor.get() else { return false };
        self.history.parts().all(|part| deflate.set_dictionary(part).is_ok()) && compress(deflate, payload, output)
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory_held(&self) -> usize {
        self.history.memory_held()
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
