//! A writer that compresses, and a reader that inflates.

use super::*;
use crate::{
    Role, Violation,
    deflate::{Compressor, Inflater},
    frame::{Frame, FrameWriter},
};
use bytes::BytesMut;
use proptest::prelude::*;

const LIMIT: usize = 100_000;

fn reader(role: Role, takeover: bool, hold: Option<usize>) -> MessageReader {
    let mut limits = ReadLimits::new(LIMIT);
    limits.hold = hold;
    let mut reader = MessageReader::new(role, limits);
    reader.set_inflater(Inflater::new(15, takeover));
    reader
}

fn compressed(payload: &[u8]) -> BytesMut {
    let mut output = BytesMut::new();
    Compressor::new(15, 6, false).piece(payload, true, &mut output);
    output
}

/// A server's frames with these payloads make one compressed message.
fn frames(opcode: Opcode, payloads: &[&[u8]]) -> BytesMut {
    let (mut writer, mut wire) = (FrameWriter::new(Role::Server, Box::new(|| [0; 4])), BytesMut::new());
    for (at, payload) in payloads.iter().enumerate() {
        let opcode = if at == 0 { opcode } else { Opcode::Continuation };
        writer.compressed(opcode, at + 1 == payloads.len(), payload, &mut wire);
    }
    wire
}

fn violation(wire: &mut BytesMut) -> Violation {
    let mut reader = reader(Role::Client, false, None);
    loop {
        match reader.next_unit(wire) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the frames are valid"),
            Err(violation) => return violation,
        }
    }
}

#[test]
fn invalid_compressed_messages_are_violations() {
    let hello = compressed(b"Hello");
    let text = Opcode::Text;
    for (mut wire, expected) in [
        (frames(text, &[&hello[..4]]), Violation::Deflate),
        (frames(text, &[&hello[..], b"\xFF"]), Violation::Deflate),
        (frames(text, &[b"\xFF\xFF\xFF"]), Violation::Deflate),
        // Only the first frame of a message is marked, and control frames never are.
        ([&frames(text, &[&hello[..3], b""])[..5], &[0xC0, 0]].concat()[..].into(), Violation::ReservedBit),
        (BytesMut::from(&[0xC9, 0][..]), Violation::ReservedBit),
        (BytesMut::from(&[0xE1, 0][..]), Violation::ReservedBit),
        (frames(text, &[&compressed(b"caf\xC3")[..]]), Violation::Utf8),
        // It fails before the message has ended.
        (frames(text, &[&compressed(b"\xFF and more, and more, and more")[..5], b"", b""]), Violation::Utf8),
        (
            frames(Opcode::Binary, &[&compressed(&vec![0; LIMIT + 1])[..]]),
            Violation::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT as u64 },
        ),
    ] {
        assert_eq!(violation(&mut wire), expected);
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let bomb = compressed(&vec![0; 16 << 20]);
    let (mut reader, mut input) = (reader(Role::Client, false, None), frames(Opcode::Binary, &[&bomb]));
    let too_large = Violation::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT as u64 };
    assert_eq!(reader.next_unit(&mut input), Err(too_large));
    assert!(reader.reserved() < 2 * LIMIT + 48 * 1024, "{}", reader.reserved());
}

#[test]
fn a_message_at_the_limit_and_an_empty_one_are_read() {
    for size in [0, LIMIT] {
        let payload = vec![7; size];
        let mut wire = frames(Opcode::Binary, &[&compressed(&payload)]);
        let unit = reader(Role::Client, false, None).next_unit(&mut wire);
        assert_eq!(unit, Ok(Some(Unit::Message(Message::Binary(payload.into())))));
    }
}

#[test]
fn a_bomb_that_is_read_in_pieces_stops_at_the_hold() {
    let (size, hold) = (4 << 20, 5000);
    let mut limits = ReadLimits::new(LIMIT);
    limits.hold = Some(hold);
    let mut reader = MessageReader::new(Role::Client, limits);
    reader.set_inflater(Inflater::new(15, false));
    let mut input = frames(Opcode::Binary, &[&compressed(&vec![0; size])]);
    assert_eq!(reader.next_unit(&mut input), Ok(None));
    assert!(reader.is_stopped() && reader.held() == hold, "{}", reader.held());
    reader.claim(Claim::Pieces);
    let mut received = 0;
    let last = loop {
        received += reader.take_piece().map_or(0, |piece| piece.len());
        match reader.next_unit(&mut input).unwrap() {
            None => assert!(reader.held() <= hold),
            Some(Unit::Fragment { frame, size }) => {
                assert_eq!(size, 4 << 20);
                break frame;
            }
            Some(unit) => panic!("{unit:?}"),
        }
    };
    assert!(last.is_final && last.opcode == Opcode::Continuation);
    assert_eq!(received + last.payload.len(), size);
    assert!(input.is_empty());
}

#[test]
fn a_message_one_byte_over_the_limit_waits_for_its_claim_though_its_last_block_is_final() {
    // A stored block with BFINAL (RFC 1951 section 3.2.4).
    let block = [&[1, 4, 0, 0xFB, 0xFF][..], b"1234"].concat();
    for (limit, waits) in [(4, false), (3, true)] {
        let mut limits = ReadLimits::new(limit);
        limits.hold = Some(100);
        let mut readers = [(); 2].map(|()| {
            let mut reader = MessageReader::new(Role::Client, limits);
            reader.set_inflater(Inflater::new(15, false));
            (reader, frames(Opcode::Binary, &[&block]))
        });
        for (reader, input) in &mut readers {
            let unit = reader.next_unit(input).unwrap();
            assert_eq!((unit.is_none(), reader.is_stopped()), (waits, waits));
        }
        if waits {
            let [(whole, input), (pieces, rest)] = &mut readers;
            whole.claim(Claim::Whole);
            assert_eq!(whole.next_unit(input), Err(Violation::TooLarge { size: 4, limit: 3 }));
            pieces.claim(Claim::Pieces);
            assert_eq!(pieces.next_unit(rest), Ok(Some(Unit::Message(Message::Binary("1234".into())))));
        }
    }
}

#[test]
fn the_messages_behind_a_discarded_one_are_unaffected() {
    for takeover in [false, true] {
        let mut writer = MessageWriter::new(Role::Server, Box::new(|| [0; 4]), 50);
        writer.set_compressor(Compressor::new(15, 6, takeover), 0);
        let mut input = BytesMut::new();
        let texts = ["first, ".repeat(500), "second, and first, ".repeat(300)];
        for text in &texts {
            writer.message(MessageRef::Text(text), &mut input);
        }
        let mut reader = reader(Role::Client, takeover, Some(100));
        reader.next_unit(&mut input).unwrap();
        reader.claim(Claim::Discarded);
        assert!(matches!(reader.next_unit(&mut input), Ok(Some(Unit::Discarded { .. }))));
        assert_eq!(reader.next_unit(&mut input), Ok(None));
        reader.claim_whole([]);
        assert_eq!(reader.next_unit(&mut input), Ok(Some(Unit::Message(Message::Text(texts[1].clone())))));
        // Nothing more is ever inflated.
        writer.message(MessageRef::Text(&texts[0]), &mut input);
        reader.discard_all();
        assert!(matches!(reader.next_unit(&mut input), Ok(Some(Unit::Discarded { size: 0 }))));
    }
}

#[test]
fn small_messages_noise_and_control_frames_are_not_compressed() {
    let mut writer = MessageWriter::new(Role::Server, Box::new(|| [0; 4]), usize::MAX);
    writer.set_compressor(Compressor::new(15, 6, true), 100);
    let noise: Vec<u8> = (0..200u32).map(|at| (at.wrapping_mul(at) >> 3) as u8 ^ at as u8).collect();
    let text = "again and ".repeat(10);
    for (message, first) in [
        (MessageRef::Text(&text), 0xC1),
        (MessageRef::Binary(text.as_bytes()), 0xC2),
        (MessageRef::Text(&text[..99]), 0x81),
        (MessageRef::Binary(&noise), 0x82),
        (MessageRef::Ping(&text.as_bytes()[..100]), 0x89),
    ] {
        let mut output = BytesMut::new();
        writer.message(message, &mut output);
        assert_eq!(output[0], first, "{message:?}");
    }
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        "(abcdefgh|é|[a-z]{1,3}){0,200}".prop_map(Message::Text),
        (any::<u8>(), 0usize..50_000).prop_map(|(byte, size)| Message::Binary(vec![byte; size].into())),
        proptest::collection::vec(any::<u8>(), 0..2000).prop_map(|data| Message::Binary(data.into())),
        proptest::collection::vec(any::<u8>(), 0..=125).prop_map(|data| Message::Ping(data.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn compressed_messages_arrive_as_they_were_sent_however_they_are_cut(
        sent in proptest::collection::vec(messages(), 1..6), cut in 1usize..3000, fragment_size in prop_oneof![1usize..500, Just(usize::MAX)],
        client: bool, takeover: bool, hold in proptest::option::of(1usize..3000), min_size in 0usize..300,
    ) {
        let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut writer = MessageWriter::new(from, Box::new(|| [3, 1, 4, 1]), fragment_size);
        writer.set_compressor(Compressor::new(12, 6, takeover), min_size);
        let mut wire = BytesMut::new();
        sent.iter().for_each(|message| writer.message(message.into(), &mut wire));
        let (mut reader, mut input) = (reader(to, takeover, hold), BytesMut::new());
        let (mut received, mut fragments) = (Vec::new(), Vec::<Frame>::new());
        for part in wire.chunks(cut) {
            input.extend_from_slice(part);
            loop {
                match reader.next_unit(&mut input).unwrap() {
                    Some(Unit::Message(message)) => received.push(message),
                    Some(Unit::Fragment { frame, .. }) => {
                        fragments.push(frame);
                        if fragments.last().unwrap().is_final {
                            let data = fragments.iter().flat_map(|fragment| fragment.payload.to_vec()).collect::<Vec<_>>();
                            received.push(match fragments[0].opcode {
                                Opcode::Text => Message::Text(String::from_utf8(data).unwrap()),
                                _ => Message::Binary(data.into()),
                            });
                            fragments.clear();
                        }
                    }
                    // A message of 512 frames takes longer.
                    None if reader.is_turn_over() => reader.begin_turn(),
                    // Whole from here on, with what was handed out before.
                    None if reader.is_stopped() => {
                        reader.claim_whole(fragments.drain(..).map(|fragment| fragment.payload));
                    }
                    Some(Unit::Discarded { .. }) => panic!("nothing is discarded"),
                    None => break,
                }
            }
        }
        prop_assert!(input.is_empty() && !reader.is_within_message() && fragments.is_empty());
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn no_compressed_payload_panics_or_exceeds_the_limits(
        payload in proptest::collection::vec(any::<u8>(), 0..400), first: [u8; 2], cut in 1usize..50,
        hold in proptest::option::of(1usize..300), is_text: bool, takeover: bool,
    ) {
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        let payload = [&[first[0] & !6 | 2, first[1]], &payload[..]].concat();
        let wire = frames(opcode, &payload.chunks(cut).collect::<Vec<_>>());
        let (mut reader, mut input) = (reader(Role::Client, takeover, hold), wire);
        for _ in 0..2000 {
            let result = reader.next_unit(&mut input);
            prop_assert!(reader.held() <= hold.unwrap_or(LIMIT + 1).max(LIMIT + 1));
            match result {
                Ok(Some(Unit::Message(_))) | Err(_) => break,
                Ok(None) => reader.claim(Claim::Pieces),
                Ok(Some(_)) => {}
            }
            reader.take_piece();
        }
    }
}
