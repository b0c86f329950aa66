use super::*;
use bytes::BytesMut;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use zlib_rs::{Deflate, DeflateFlush};

/// Inflates a payload that arrives in pieces of `cut` bytes.
fn inflate(inflater: &mut Inflater, payload: &[u8], cut: usize, step: usize) -> Result<Vec<u8>, InvalidData> {
    let mut output = BytesMut::new();
    for mut piece in payload.chunks(cut) {
        while !inflater.inflate(&mut piece, step, &mut output)? {}
        assert!(piece.is_empty());
    }
    while !inflater.finish(step, &mut output)? {}
    Ok(output.to_vec())
}

fn inflate_alone(payload: &[u8]) -> Result<Vec<u8>, InvalidData> {
    inflate(&mut Inflater::new(15, false), payload, usize::MAX, usize::MAX)
}

/// Data that compresses to some degree: words of a small vocabulary, and noise.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => Just(b"{\"type\":\"update\",\"price\":".to_vec()),
        4 => "[a-f]{1,4}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0usize..3000).prop_map(|(byte, count)| vec![byte; count]),
    ];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3_are_inflated() {
    let hello = Ok(b"Hello".to_vec());
    // 7.2.3.1: one block, and the same in two fragments.
    let one = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflate_alone(&one), hello);
    assert_eq!(inflate(&mut Inflater::new(15, false), &one, 3, usize::MAX), hello);
    // 7.2.3.2: the second message refers to the first.
    let mut inflater = Inflater::new(15, true);
    assert_eq!(inflate(&mut inflater, &one, 7, usize::MAX), hello);
    assert_eq!(inflate(&mut inflater, &[0xF2, 0x00, 0x11, 0x00, 0x00], 7, usize::MAX), hello);
    assert_eq!(inflate_alone(&[0xF2, 0x00, 0x11, 0x00, 0x00]), Err(InvalidData));
    // 7.2.3.3: a block without compression.
    assert_eq!(inflate_alone(&[0, 5, 0, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0]), hello);
    // 7.2.3.4: a final block.
    assert_eq!(inflate_alone(&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]), hello);
    // 7.2.3.5: two blocks.
    let two = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflate_alone(&two), hello);
    // 7.2.3.6: an empty message.
    assert_eq!(inflate_alone(&[0]), Ok(vec![]));
}

#[test]
fn messages_are_compressed_as_in_rfc_7692() {
    let mut compressor = Compressor::new(15, 6, true);
    let mut output = BytesMut::new();
    compressor.piece(b"Hello", true, &mut output);
    assert_eq!(output, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..]);
    output.clear();
    compressor.piece(b"Hello", true, &mut output);
    // The RFC's second message is the same literal and a copy; zlib finds the same.
    let mut inflater = Inflater::new(15, true);
    inflate(&mut inflater, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 7, 10).unwrap();
    assert_eq!(inflate(&mut inflater, &output, 7, 10), Ok(b"Hello".to_vec()));
    assert!(output.len() < 7);
    output.clear();
    Compressor::new(15, 6, false).piece(b"", true, &mut output);
    assert_eq!(output, &[0][..]);
}

#[test]
fn deviations_of_peers_are_accepted() {
    // A final block without anything behind it, several final blocks, empty blocks, and no payload at all.
    let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflate_alone(&last), Ok(b"Hello".to_vec()));
    assert_eq!(inflate_alone(&[last, last].concat()), Ok(b"HelloHello".to_vec()));
    assert_eq!(inflate_alone(&[0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0]), Ok(vec![]));
    assert_eq!(inflate_alone(&[]), Ok(vec![]));
    // Messages behind such messages are unaffected.
    let mut inflater = Inflater::new(15, true);
    for payload in [&last[..], &[], &[0xF2, 0x00, 0x11, 0x00, 0x00], &[last, last].concat()] {
        inflate(&mut inflater, payload, 2, 3).unwrap();
    }
}

#[test]
fn invalid_data_is_an_error() {
    for payload in [
        &[0xF2, 0x48, 0xCD, 0xC9][..],                     // Cut in the middle of a block.
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9],                   // The same, one byte further.
        &[0, 5, 0, 0xFA, 0xFF],                            // Cut in a block without compression.
        &[0, 5, 0, 0, 0, 1, 2, 3, 4, 5, 0],                // The complement of the length is wrong.
        &[0x06],                                           // A reserved type of block.
        &[0x04, 0xC0, 0xFF, 0xFF, 0xFF, 0xFF],             // Invalid code lengths.
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0xFF], // Garbage behind a final block.
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0xFF], // Garbage behind the message.
        &[0xFF; 20],
    ] {
        assert_eq!(inflate_alone(payload), Err(InvalidData), "{payload:02X?}");
    }
}

#[test]
fn a_peer_may_refer_to_every_byte_of_its_window() {
    let mut noise = vec![0; 40_000];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let mut peer = Deflate::new(6, false, 15);
    let mut inflater = Inflater::new(15, true);
    // The history is full after the second message. Later ones repeat what is as far back as zlib refers to.
    for start in [0, 20_000, 9_000, 12_500, 18_000, 25_000, 11_000, 33_000, 20_000] {
        let message = &noise[start..noise.len().min(start + 20_000 - start / 2)];
        let mut payload = vec![0; 60_000];
        let before = peer.total_out();
        peer.compress(message, &mut payload, DeflateFlush::SyncFlush).unwrap();
        payload.truncate((peer.total_out() - before) as usize - 4);
        assert_eq!(inflate(&mut inflater, &payload, 1000, 1000).unwrap(), message, "{start}");
    }
}

#[test]
fn a_bomb_is_inflated_in_steps() {
    let mut bomb = BytesMut::new();
    assert!(Compressor::new(15, 9, false).message(&vec![0; 16 << 20], &mut bomb));
    assert!(bomb.len() < 17_000);
    let (mut inflater, mut output, mut input) = (Inflater::new(15, false), BytesMut::new(), &bomb[..]);
    assert_eq!(inflater.inflate(&mut input, 1000, &mut output), Ok(false));
    assert_eq!(output.len(), 1000);
    assert!(output.capacity() < 4096 && bomb.len() - input.len() < 100);
    assert_eq!(inflater.inflate(&mut input, 5000, &mut output), Ok(false));
    assert_eq!(output.len(), 6000);
}

#[test]
fn what_compression_would_enlarge_is_not_compressed_and_not_remembered() {
    let mut noise = [0; 600];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let (mut compressor, mut inflater) = (Compressor::new(15, 6, true), Inflater::new(15, true));
    let mut output = BytesMut::from(&b"before"[..]);
    assert!(!compressor.message(&noise, &mut output));
    assert_eq!(output, b"before"[..]);
    // Twice the noise compresses, but not with reference to a message that the peer never inflated.
    let twice = noise.repeat(2);
    output.clear();
    assert!(compressor.message(&twice, &mut output));
    assert!(output.len() > 600);
    assert_eq!(inflate(&mut inflater, &output, 100, 100), Ok(twice.clone()));
    output.clear();
    assert!(compressor.message(&twice, &mut output));
    assert!(output.len() < 100);
    assert_eq!(inflate(&mut inflater, &output, 100, 100), Ok(twice));
}

#[test]
fn an_idle_end_holds_only_the_history_of_context_takeover() {
    let text = b"all work and no play ".repeat(5000);
    for (takeover, compressor_holds, inflater_holds) in [(false, 0, 0), (true, 4096, 32768)] {
        let (mut compressor, mut inflater) = (Compressor::new(15, 6, takeover), Inflater::new(15, takeover));
        let mut output = BytesMut::new();
        compressor.piece(&text[..50_000], false, &mut output);
        assert_eq!(compressor.memory_held(), 4096);
        compressor.piece(&text[50_000..], true, &mut output);
        assert_eq!(inflate(&mut inflater, &output, 7, 9), Ok(text.clone()));
        assert_eq!((compressor.memory_held(), inflater.memory_held()), (compressor_holds, inflater_holds));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn messages_survive_every_window_level_and_cut(
        messages in proptest::collection::vec((payloads(), 1usize..5000), 1..5),
        bits in MIN_WINDOW_BITS..=MAX_WINDOW_BITS, level in 1u8..=9, takeover: bool,
        cut in 1usize..2000, step in 1usize..70_000,
    ) {
        let (mut compressor, mut inflater) = (Compressor::new(bits, level, takeover), Inflater::new(bits, takeover));
        for (message, piece) in &messages {
            let mut output = BytesMut::new();
            if piece % 2 == 0 {
                if !compressor.message(message, &mut output) {
                    continue;
                }
                prop_assert!(output.len() < message.len());
            } else {
                for piece in message.chunks(*piece) {
                    compressor.piece(piece, false, &mut output);
                }
                compressor.piece(b"", true, &mut output);
            }
            prop_assert_eq!(inflate(&mut inflater, &output, cut, step), Ok(message.clone()));
        }
    }

    #[test]
    fn each_piece_can_be_inflated_before_the_next_is_compressed(
        pieces in proptest::collection::vec(payloads(), 1..6), takeover: bool,
    ) {
        let (mut compressor, mut inflater) = (Compressor::new(12, 6, takeover), Inflater::new(12, takeover));
        for (at, piece) in pieces.iter().enumerate() {
            let (mut compressed, mut inflated) = (BytesMut::new(), BytesMut::new());
            let is_final = at + 1 == pieces.len();
            compressor.piece(piece, is_final, &mut compressed);
            let mut input = &compressed[..];
            prop_assert_eq!(inflater.inflate(&mut input, usize::MAX, &mut inflated), Ok(true));
            if is_final {
                prop_assert_eq!(inflater.finish(usize::MAX, &mut inflated), Ok(true));
            }
            prop_assert_eq!(&inflated[..], &piece[..]);
        }
    }

    #[test]
    fn no_bytes_panic_or_exceed_a_step(
        payload in proptest::collection::vec(any::<u8>(), 0..300), first in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
        takeover: bool, cut in 1usize..50, step in 1usize..500,
    ) {
        let mut payload = payload;
        if let (Some(first), Some(byte)) = (first, payload.first_mut()) {
            // Types of blocks that lead further than most random bytes do.
            *byte = first & !6 | 2;
        }
        let (mut inflater, mut output) = (Inflater::new(9, takeover), BytesMut::new());
        'pieces: for mut piece in payload.chunks(cut) {
            loop {
                let before = output.len();
                let done = inflater.inflate(&mut piece, step, &mut output);
                prop_assert!(output.len() - before <= step);
                match done {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(InvalidData) => break 'pieces,
                }
            }
        }
        for _ in 0..1000 {
            if inflater.finish(step, &mut output) != Ok(false) {
                break;
            }
        }
    }
}

// Negotiation.

fn budget() -> MemoryBudget {
    MemoryBudget::new(1 << 20)
}

fn takeover() -> Options {
    Options { compress_takeover: true, inflate_takeover: true, ..Options::default() }
}

/// What a server with `options` answers to `offers`.
fn answered(offers: &[&str], options: Options) -> Option<String> {
    let offers = offers.iter().map(|offer| offer.as_bytes());
    answer(offers, options, &budget()).unwrap().map(|answer| answer.header)
}

/// What a client with `options` makes of `answer`.
fn accepted(answer: &[&str], options: Options) -> Result<Option<Parameters>, NegotiationError> {
    let answer = answer.iter().map(|answer| answer.as_bytes());
    Offer::new(options, &budget()).accept(answer).map(|agreed| agreed.map(|agreed| agreed.parameters()))
}

#[test]
fn an_offer_asks_for_what_the_options_say() {
    let offer = |options| Offer::new(options, &budget()).header().to_owned();
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";
    assert_eq!(offer(Options::default()), none);
    assert_eq!(offer(takeover()), "permessage-deflate; client_max_window_bits");
    let windows = Options { compress_window_bits: 10, inflate_window_bits: 12, ..takeover() };
    assert_eq!(offer(windows), "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10");
    // 8 is never offered.
    let windows = Options { compress_window_bits: 8, inflate_window_bits: 0, level: 77, ..takeover() };
    assert_eq!(offer(windows), "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9");
}

#[test]
fn a_server_answers_the_first_acceptable_offer() {
    let windows = Options { compress_window_bits: 11, inflate_window_bits: 12, ..takeover() };
    for (offers, options, expected) in [
        (&["permessage-deflate"][..], takeover(), Some("permessage-deflate")),
        (
            &["permessage-deflate"],
            Options::default(),
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (
            &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
            takeover(),
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (&["permessage-deflate; client_max_window_bits"], takeover(), Some("permessage-deflate")),
        (&["permessage-deflate; client_max_window_bits=15"], takeover(), Some("permessage-deflate")),
        (
            &["permessage-deflate; client_max_window_bits=8"],
            takeover(),
            Some("permessage-deflate; client_max_window_bits=8"),
        ),
        (
            &["permessage-deflate; server_max_window_bits=15"],
            takeover(),
            Some("permessage-deflate; server_max_window_bits=15"),
        ),
        (
            &["permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits"],
            windows,
            Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=12"),
        ),
        // The client did not say that its window can be limited.
        (&["permessage-deflate"], windows, Some("permessage-deflate; server_max_window_bits=11")),
        // Other extensions, other lines, and offers that are declined.
        (
            &["x-webkit-deflate-frame, permessage-deflate; unknown", "a;b, permessage-deflate"],
            takeover(),
            Some("permessage-deflate"),
        ),
        (
            &[
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9, permessage-deflate",
            ],
            takeover(),
            Some("permessage-deflate; server_max_window_bits=9"),
        ),
        (&["permessage-deflate; server_max_window_bits=8"], takeover(), None),
        (&["permessage-bzip2"], takeover(), None),
        (&[""], takeover(), None),
        (&[], takeover(), None),
    ] {
        assert_eq!(answered(offers, options).as_deref(), expected, "{offers:?}");
    }
    let malformed = answer([&b"permessage-deflate, ="[..]], takeover(), &budget());
    assert_eq!(malformed.unwrap_err(), NegotiationError::Malformed);
}

/// Every way in which a parameter can be invalid.
const INVALID: [&str; 18] = [
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; server_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=010",
    "server_max_window_bits=+9",
    "server_max_window_bits=ten",
    "server_max_window_bits=9; server_max_window_bits=9",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=08",
    "client_max_window_bits=9; client_max_window_bits",
    "Client_no_context_takeover",
    "unknown",
    "unknown=1",
];

#[test]
fn invalid_parameters_are_declined_by_a_server_and_refused_by_a_client() {
    for parameters in INVALID {
        let header = format!("permessage-deflate; {parameters}");
        assert_eq!(answered(&[&header], takeover()), None, "{header}");
        let windows = Options { compress_window_bits: 14, ..takeover() };
        assert!(accepted(&[&header], windows).is_err(), "{header}");
    }
}

#[test]
fn a_client_honours_every_answer_within_the_rfc_and_nothing_else() {
    use NegotiationError::*;
    let parameters = |server_no_context_takeover, client_no_context_takeover, server, client| {
        Ok(Some(Parameters {
            server_no_context_takeover,
            client_no_context_takeover,
            server_max_window_bits: server,
            client_max_window_bits: client,
        }))
    };
    let windows = Options { compress_window_bits: 11, inflate_window_bits: 12, ..takeover() };
    let larger = |parameter, offered, answered| Err(LargerWindow { parameter, offered, answered });
    for (answer, options, expected) in [
        (&[][..], takeover(), Ok(None)),
        (&[""], takeover(), Ok(None)),
        (&["permessage-deflate"], takeover(), parameters(false, false, 15, 15)),
        (&["permessage-deflate; client_no_context_takeover"], takeover(), parameters(false, true, 15, 15)),
        (&["permessage-deflate; server_no_context_takeover"], takeover(), parameters(true, false, 15, 15)),
        (&["permessage-deflate; server_max_window_bits=8"], takeover(), parameters(false, false, 8, 15)),
        // What the client promised holds, whether or not the server repeats it.
        (&["permessage-deflate; server_no_context_takeover"], Options::default(), parameters(true, true, 15, 15)),
        (&["permessage-deflate"], Options::default(), Err(Missing("server_no_context_takeover"))),
        (
            &["permessage-deflate; client_max_window_bits=8; server_max_window_bits=12"],
            windows,
            parameters(false, false, 12, 8),
        ),
        (&["permessage-deflate; server_max_window_bits=9"], windows, parameters(false, false, 9, 15)),
        (&["permessage-deflate"], windows, Err(Missing("server_max_window_bits"))),
        (&["permessage-deflate; server_max_window_bits=13"], windows, larger("server_max_window_bits", 12, 13)),
        (
            &["permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"],
            windows,
            larger("client_max_window_bits", 11, 12),
        ),
        (
            &["permessage-deflate; server_max_window_bits=12; client_max_window_bits"],
            windows,
            Err(InvalidValue { parameter: "client_max_window_bits", value: None }),
        ),
        (&["permessage-deflate; client_max_window_bits=12"], takeover(), parameters(false, false, 15, 12)),
        (&["permessage-deflate", "permessage-deflate"], takeover(), Err(Repeated)),
        (&["permessage-deflate, permessage-deflate"], takeover(), Err(Repeated)),
        (&["permessage-bzip2"], takeover(), Err(NotOffered("permessage-bzip2".into()))),
        (&["permessage-deflate, mux"], takeover(), Err(NotOffered("mux".into()))),
        (&["permessage-deflate;"], takeover(), Err(Malformed)),
    ] {
        assert_eq!(accepted(answer, options), expected, "{answer:?}");
    }
}

#[test]
fn a_client_that_may_use_only_8_window_bits_sends_everything_uncompressed() {
    let options = Options { compress_window_bits: 9, ..takeover() };
    let answer = [&b"permessage-deflate; client_max_window_bits=8"[..]];
    assert!(Offer::new(options, &budget()).accept(answer).unwrap().unwrap().compressor().is_none());
}

#[test]
fn context_takeover_counts_against_the_budget_and_stops_when_it_is_spent() {
    let budget = MemoryBudget::new(80 << 10);
    let answer = |offer: &str| answer([offer.as_bytes()], takeover(), &budget).unwrap().unwrap();
    // 4 KiB for the compressor, 32 KiB for the inflater.
    let first = answer("permessage-deflate");
    assert_eq!((first.header.as_str(), budget.remaining()), ("permessage-deflate", 44 << 10));
    let offer = Offer::new(takeover(), &budget);
    assert_eq!((offer.header(), budget.remaining()), ("permessage-deflate; client_max_window_bits", 8 << 10));
    // Neither a server nor a client gets more.
    let without = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut third = answer("permessage-deflate");
    assert_eq!((third.header.as_str(), budget.remaining()), (without, 8 << 10));
    assert!(!third.compression.compressor().unwrap().has_takeover());
    let offered = format!("{without}; client_max_window_bits");
    assert_eq!(Offer::new(takeover(), &budget).header(), offered);
    assert_eq!(
        answer("permessage-deflate; client_max_window_bits=10; server_max_window_bits=10").header,
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"
    );
    // A server that agrees to less returns a part.
    let agreed = offer.accept([&b"permessage-deflate; server_no_context_takeover"[..]]).unwrap().unwrap();
    assert_eq!(budget.remaining(), 40 << 10);
    drop((first, agreed));
    assert_eq!(budget.remaining(), 80 << 10);
    // An offer that fails or is declined costs nothing.
    assert!(Offer::new(takeover(), &budget).accept([&b"other"[..]]).is_err());
    assert!(Offer::new(takeover(), &budget).accept([]).unwrap().is_none());
    assert_eq!(budget.remaining(), 80 << 10);
}

proptest! {
    #[test]
    fn both_ends_agree_whatever_their_options(
        client in options(), server in options(), budget in 0usize..100_000,
    ) {
        let budget = MemoryBudget::new(budget);
        let total = budget.remaining();
        let offer = Offer::new(client, &budget);
        let answer = answer([offer.header().as_bytes()], server, &budget).unwrap().unwrap();
        let agreed = offer.accept([answer.header.as_bytes()]).unwrap().unwrap();
        let (mut ends, parameters) = ([agreed, answer.compression], agreed_parameters(&answer.header));
        prop_assert_eq!(ends[1].parameters(), parameters);
        for role in [Role::Client, Role::Server] {
            prop_assert_eq!(ends[0].parameters().window_bits(role), parameters.window_bits(role));
        }
        // What one end compresses, the other one inflates.
        let message = b"to and fro and to and fro, ".repeat(300);
        for _ in 0..3 {
            for (from, to) in [(0, 1), (1, 0)] {
                let mut output = BytesMut::new();
                prop_assert!(ends[from].compressor().unwrap().message(&message, &mut output));
                prop_assert_eq!(inflate(ends[to].inflater(), &output, 100, 1000), Ok(message.clone()));
            }
            let held: usize = ends.iter().map(Compression::memory_held).sum();
            prop_assert!(held <= total - budget.remaining(), "{} of {}", held, total - budget.remaining());
        }
        drop(ends);
        prop_assert_eq!(budget.remaining(), total);
    }

    #[test]
    fn no_header_panics(header in "(permessage-deflate|;|=|,| |server_max_window_bits|client_max_window_bits|client_no_context_takeover|\"|8|15|x){0,12}") {
        let _ = answer([header.as_bytes()], takeover(), &budget());
        let _ = Offer::new(takeover(), &budget()).accept([header.as_bytes()]);
    }
}

fn options() -> impl Strategy<Value = Options> {
    (any::<[bool; 2]>(), 9u8..=15, 9u8..=15, 1u8..=9).prop_map(|(takeover, compress, inflate, level)| Options {
        compress_takeover: takeover[0],
        inflate_takeover: takeover[1],
        compress_window_bits: compress,
        inflate_window_bits: inflate,
        level,
        ..Options::default()
    })
}

/// What a client without demands makes of this answer.
fn agreed_parameters(answer: &str) -> Parameters {
    let bits = |name: &str| {
        let value = answer.split("; ").find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='));
        value.map_or(15, |value| value.parse().unwrap())
    };
    Parameters {
        server_no_context_takeover: answer.contains("server_no_context_takeover"),
        client_no_context_takeover: answer.contains("client_no_context_takeover"),
        server_max_window_bits: bits("server_max_window_bits"),
        client_max_window_bits: bits("client_max_window_bits"),
    }
}
