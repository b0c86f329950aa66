//! What a peer can do with permessage-deflate: headers that negotiate it, and compressed payloads in pieces.

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use websocket_protocol::deflate::{Compressor, Inflater, InvalidData, MemoryBudget, Offer, Options, answer};

/// The most that is inflated of one payload.
const LIMIT: usize = 1 << 20;

#[derive(Debug, Arbitrary)]
enum Case<'a> {
    Negotiate { options: [u8; 3], budget: u16, header: &'a [u8] },
    Inflate { takeover: bool, cut: u16, step: u16, payloads: Vec<&'a [u8]> },
    RoundTrip { takeover: bool, bits: u8, level: u8, cut: u16, step: u16, messages: Vec<&'a [u8]> },
}

/// Runs one case.
pub fn deflate(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Negotiate { options, budget, header }) => negotiate(options, budget, header),
        Ok(Case::Inflate { takeover, cut, step, payloads }) => inflate(takeover, cut, step, &payloads),
        Ok(Case::RoundTrip { takeover, bits, level, cut, step, messages }) => {
            round_trip(takeover, bits, level, [cut, step], &messages);
        }
        Err(_) => {}
    }
}

/// Every header is answered or refused; both ends keep what they agreed on, and return their memory.
fn negotiate([flags, compress, inflate]: [u8; 3], budget: u16, header: &[u8]) {
    let mut options = Options::default();
    options.compress_takeover = flags & 1 != 0;
    options.inflate_takeover = flags & 2 != 0;
    options.compress_window_bits = compress;
    options.inflate_window_bits = inflate;
    let budget = MemoryBudget::new(budget.into());
    let whole = budget.remaining();
    if let Ok(Some(answer)) = answer([header], options, &budget) {
        let parameters = answer.compression.parameters();
        assert!((9..=15).contains(&parameters.server_max_window_bits), "{}", answer.header);
        assert!((8..=15).contains(&parameters.client_max_window_bits), "{}", answer.header);
    }
    assert_eq!(budget.remaining(), whole);
    let offer = Offer::new(options, &budget);
    let demands_no_takeover = offer.header().contains("server_no_context_takeover");
    if let Ok(Some(compression)) = offer.accept([header]) {
        let parameters = compression.parameters();
        assert!(parameters.server_max_window_bits <= inflate.clamp(9, 15), "{parameters:?}");
        assert!(parameters.server_no_context_takeover || !demands_no_takeover, "{parameters:?}");
    }
    assert_eq!(budget.remaining(), whole);
}

/// However a payload is cut, it inflates to the same bytes, in steps.
fn inflate(takeover: bool, cut: u16, step: u16, payloads: &[&[u8]]) {
    let mut whole = Inflater::new(15, takeover);
    let mut parts = Inflater::new(15, takeover);
    for payload in payloads {
        let expected = inflate_message(&mut whole, payload, usize::MAX, LIMIT);
        let inflated = inflate_message(&mut parts, payload, cut.max(1).into(), step.max(1).into());
        assert_eq!(inflated, expected);
        if !matches!(expected, Ok(Some(_))) {
            return;
        }
    }
}

/// `None` for more than [`LIMIT`] bytes.
fn inflate_message(
    inflater: &mut Inflater,
    payload: &[u8],
    cut: usize,
    step: usize,
) -> Result<Option<BytesMut>, InvalidData> {
    let mut output = BytesMut::new();
    let mut pieces = payload.chunks(cut);
    loop {
        let piece = pieces.next();
        let mut input = piece.unwrap_or_default();
        loop {
            let before = output.len();
            let is_done = match piece {
                Some(_) => inflater.inflate(&mut input, step, &mut output)?,
                None => inflater.finish(step, &mut output)?,
            };
            assert!(output.len() - before <= step);
            if output.len() >= LIMIT {
                return Ok(None);
            }
            if is_done {
                break;
            }
        }
        assert!(input.is_empty());
        if piece.is_none() {
            return Ok(Some(output));
        }
    }
}

/// What is compressed inflates to the same bytes.
fn round_trip(takeover: bool, bits: u8, level: u8, [cut, step]: [u16; 2], messages: &[&[u8]]) {
    let bits = 9 + bits % 7;
    let (mut compressor, mut inflater) = (Compressor::new(bits, level, takeover), Inflater::new(bits, takeover));
    for (at, message) in messages.iter().enumerate() {
        let mut compressed = BytesMut::new();
        if at % 2 == 0 {
            for piece in message.chunks(cut.max(1).into()) {
                compressor.piece(piece, false, &mut compressed);
            }
            compressor.piece(&[], true, &mut compressed);
        } else if !compressor.message(message, &mut compressed) {
            continue;
        }
        let inflated = inflate_message(&mut inflater, &compressed, cut.max(1).into(), step.max(1).into());
        assert_eq!(inflated.expect("valid data").expect("a small message"), *message);
    }
}
