//! Inflating what the peer compressed (RFC 7692 section 7.2.2).

use super::{
    MIN_WINDOW_BITS,
    history::History,
    pool::{INFLATER_SIZE, PooledInflater, with_output},
};
use bytes::BytesMut;
use zlib_rs::{InflateFlush, Status};

/// What is inflated behind each message: the tail that the peer did not send, and a final empty block. The data of the
/// message is complete if the stream ends right there.
const END: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];

/// The peer sent data that is not valid DEFLATE (RFC 1951), or that ends within a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressed data is invalid")]
pub struct InvalidData;

/// Bytes of earlier messages that an inflater for this window keeps. A compressor of zlib that is asked for 8 bits uses 9.
pub(super) fn history_size(window_bits: u8) -> usize {
    1 << window_bits.max(MIN_WINDOW_BITS)
}

/// Inflates messages in pieces, as they arrive. It holds an inflater of zlib only within a message.
#[derive(Debug)]
pub struct Inflater {
    history: Option<History>,
    /// In use within a message.
    active: Option<PooledInflater>,
    /// The last block was final. Another may follow (section 7.2.3.4).
    has_ended: bool,
    /// How much of [`END`] was inflated.
    end: usize,
}

impl Inflater {
    /// An inflater for a peer that compresses with at most `window_bits`, 8 to 15. With `takeover`, its messages refer to
    /// the messages before.
    pub fn new(window_bits: u8, takeover: bool) -> Self {
        let history = takeover.then(|| History::new(history_size(window_bits.min(super::MAX_WINDOW_BITS))));
        Inflater { history, active: None, has_ended: false, end: 0 }
    }

    /// Inflates a part of a message's payload: advances `input`, and appends at most `most` bytes to `output`. Returns
    /// whether that was all; if not, call it again, even if `input` is empty.
    ///
    /// # Errors
    /// [`InvalidData`], after which nothing more can be inflated.
    pub fn inflate(&mut self, input: &mut &[u8], most: usize, output: &mut BytesMut) -> Result<bool, InvalidData> {
        if input.is_empty() && self.active.is_none() {
            return Ok(true);
        }
        let mut inflater = match self.active.take() {
            Some(inflater) => inflater,
            None => self.begin()?,
        };
        let done = self.steps(&mut inflater, input, most, output)?;
        self.active = Some(inflater);
        Ok(done)
    }

    /// The message ends here. Appends what is left of it, at most `most` bytes, to `output`. Returns whether that was all;
    /// if not, call it again.
    ///
    /// # Errors
    /// [`InvalidData`] if the compressed data ends within a block.
    pub fn finish(&mut self, most: usize, output: &mut BytesMut) -> Result<bool, InvalidData> {
        // Two deviations that zlib accepts too: an empty payload, and a final block without anything behind it.
        let is_complete = self.end == 0 && (self.active.is_none() || self.has_ended);
        if let Some(mut inflater) = self.active.take()
            && !is_complete
        {
            let mut end = &END[self.end..];
            let done = self.steps(&mut inflater, &mut end, most, output)?;
            self.end = END.len() - end.len();
            if !done {
                self.active = Some(inflater);
                return Ok(false);
            }
            if !self.has_ended {
                return Err(InvalidData);
            }
        }
        (self.has_ended, self.end) = (false, 0);
        Ok(true)
    }

    /// Whether messages refer to the messages before.
    pub fn has_takeover(&self) -> bool {
        self.history.is_some()
    }

    /// Forgets the message that has begun, and every message before.
    pub fn clear(&mut self) {
        (self.active, self.has_ended, self.end) = (None, false, 0);
        if let Some(history) = &mut self.history {
            history.clear();
        }
    }

    fn begin(&self) -> Result<PooledInflater, InvalidData> {
        let mut inflater = PooledInflater::take();
        if let (Some(history), Some(inflate)) = (&self.history, inflater.get()) {
            for part in history.parts() {
                inflate.set_dictionary(part).map_err(|_| InvalidData)?;
            }
        }
        Ok(inflater)
    }

    fn steps(
        &mut self,
        inflater: &mut PooledInflater,
        input: &mut &[u8],
        most: usize,
        output: &mut BytesMut,
    ) -> Result<bool, InvalidData> {
        let Some(inflate) = inflater.get() else { return Err(InvalidData) };
        let limit = output.len().saturating_add(most);
        with_output(|buffer| {
            loop {
                if self.has_ended {
                    if input.is_empty() {
                        return Ok(true);
                    }
                    // A compressor that ends its stream begins the next one with an empty window.
                    inflate.reset(false);
                    self.has_ended = false;
                }
                let space = buffer.len().min(limit - output.len());
                if space == 0 {
                    return Ok(false);
                }
                let (consumed, produced) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, &mut buffer[..space], InflateFlush::NoFlush);
                let status = status.map_err(|_| InvalidData)?;
                *input = &input[(inflate.total_in() - consumed) as usize..];
                let produced = &buffer[..(inflate.total_out() - produced) as usize];
                output.extend_from_slice(produced);
                if let Some(history) = &mut self.history {
                    history.push(produced);
                }
                if status == Status::StreamEnd {
                    self.has_ended = true;
                } else if produced.len() < space {
                    return if input.is_empty() { Ok(true) } else { Err(InvalidData) };
                }
            }
        })
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory_held(&self) -> usize {
        self.history.as_ref().map_or(0, History::memory_held) + self.active.as_ref().map_or(0, |_| INFLATER_SIZE)
    }
}
