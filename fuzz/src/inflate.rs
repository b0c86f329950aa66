//! An inflater to hold the product's against: a whole message at once, with miniz_oxide.

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
};

/// The tail that the peer does not send (RFC 7692 section 7.2.2), and a final empty block: the data is complete if the stream
/// ends right there.
const END: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];
/// The longest match, which an inflater may decode beyond the limit.
const MATCH: usize = 258;
/// How far back a block may refer.
const WINDOW: usize = 1 << 15;

/// What a message inflates to.
#[derive(Debug, PartialEq, Eq)]
pub enum Inflated {
    Data(Vec<u8>),
    /// More than the limit. These bytes are the beginning.
    TooLarge(Vec<u8>),
    /// The data is invalid, or ends within a block, right after the limit: an inflater may notice either first.
    TooLargeOrInvalid,
    /// The data is invalid, or ends within a block.
    Invalid,
}

/// Inflates the payload of a message that may refer to the data before it.
pub fn inflate(before: &[u8], payload: &[u8], largest: usize) -> Inflated {
    // A buffer of the largest size would take most of a run's time.
    let mut limit = largest.min(1 << 12);
    loop {
        match inflate_within(before, payload, limit) {
            Inflated::TooLarge(_) | Inflated::TooLargeOrInvalid if limit < largest => limit = largest.min(limit << 4),
            inflated => return inflated,
        }
    }
}

fn inflate_within(before: &[u8], payload: &[u8], largest: usize) -> Inflated {
    let input = [payload, &END].concat();
    let before = &before[before.len().saturating_sub(WINDOW)..];
    let mut output = before.to_vec();
    output.resize(before.len() + largest + 1 + MATCH, 0);
    // No block may refer to bytes before a final block.
    let (mut begin, mut end, mut read) = (0, before.len(), 0);
    // The product accepts an empty payload, as zlib does.
    let mut is_complete = payload.is_empty();
    while !is_complete {
        let (status, consumed, produced) = decompress(
            &mut DecompressorOxide::new(),
            &input[read..],
            &mut output[begin..],
            end - begin,
            TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        end += produced;
        read += consumed;
        match status {
            TINFLStatus::Done => {}
            TINFLStatus::HasMoreOutput => break,
            _ if end - before.len() > largest => return Inflated::TooLargeOrInvalid,
            _ => return Inflated::Invalid,
        }
        begin = end;
        // Also after a final block without the byte that is to follow it.
        is_complete = read == payload.len() || read == input.len();
    }
    let data = output[before.len()..end].to_vec();
    if data.len() > largest { Inflated::TooLarge(data) } else { Inflated::Data(data) }
}
