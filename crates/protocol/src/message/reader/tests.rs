//! Tests of the reader: sequences of frames, limits, claims, and property tests.

use super::*;
use crate::{MessageRef, message::MessageWriter};
use proptest::prelude::*;

fn read(role: Role, wire: &[u8]) -> Result<Vec<Message>, Violation> {
    let (mut reader, mut input) = (MessageReader::new(role, ReadLimits::new(1000)), BytesMut::from(wire));
    std::iter::from_fn(|| reader.next_unit(&mut input).transpose()).map(|unit| unit.map(whole)).collect()
}

fn whole(unit: Unit) -> Message {
    match unit {
        Unit::Message(message) => message,
        unit => panic!("{unit:?} is part of a message"),
    }
}

/// A client's reader whose messages are claimed.
fn claimed(hold: usize) -> MessageReader {
    let mut limits = ReadLimits::new(1000);
    (limits.hold, limits.max_stream_size) = (Some(hold), 2000);
    MessageReader::new(Role::Client, limits)
}

fn fragment(opcode: Opcode, is_final: bool, payload: &'static [u8], size: u64) -> Result<Option<Unit>, Violation> {
    Ok(Some(Unit::Fragment { frame: Frame { opcode, is_final, payload: payload.into() }, size }))
}

fn violation(wire: &[u8]) -> Violation {
    read(Role::Client, wire).unwrap_err()
}

#[test]
fn invalid_sequences_of_frames_are_violations() {
    for (wire, expected) in [
        (&[0x80, 0x00][..], Violation::StrayContinuation),
        (&[0x01, 0x00, 0x81, 0x00], Violation::NestedMessage),
        (&[0x01, 0x00, 0x82, 0x00], Violation::NestedMessage),
        (&[0x81, 0x00, 0x80, 0x00], Violation::StrayContinuation),
        (&[0x81, 0x80, 0, 0, 0, 0], Violation::Masked),
        (&[0x88, 0x01, 0x03], Violation::HalfCloseCode),
        (&[0x88, 0x02, 0x03, 0xED], Violation::CloseCode(1005)),
        (&[0x88, 0x02, 0x07, 0xD0], Violation::CloseCode(2000)),
    ] {
        assert_eq!(violation(wire), expected, "{wire:02X?}");
    }
    assert_eq!(read(Role::Server, &[0x81, 0x00]), Err(Violation::Unmasked));
}

#[test]
fn text_fails_at_its_first_invalid_byte() {
    assert_eq!(violation(&[0x81, 0x02, 0xC3, 0x28]), Violation::Utf8);
    // Most of the frame, and the message's end, are still to come.
    assert_eq!(violation(&[0x01, 0x7D, b'a', 0xF8]), Violation::Utf8);
    assert_eq!(violation(&[0x88, 0x03, 0x03, 0xE8, 0xFF]), Violation::Utf8);
    // A fragment may cut a character, the end of the message may not.
    let cut = [0x01, 0x02, b'a', 0xC3, 0x80, 0x01, 0xA9];
    assert_eq!(read(Role::Client, &cut), Ok(vec![Message::Text("aé".into())]));
    assert_eq!(violation(&[0x01, 0x02, b'a', 0xC3, 0x80, 0x00]), Violation::Utf8);
}

#[test]
fn the_size_limit_counts_the_assembled_message() {
    let too_large = |size| Violation::TooLarge { size, limit: 1000 };
    assert_eq!(violation(&[0x82, 0x7E, 0x03, 0xE9]), too_large(1001));
    assert_eq!(violation(&[0x82, 0x7F, 0x40, 0, 0, 0, 0, 0, 0, 0]), too_large(1 << 62));
    let mut wire = vec![0x02, 0x7E, 0x03, 0xE8];
    wire.extend([0; 1000]);
    wire.extend([0x80, 0x01]);
    assert_eq!(violation(&wire), too_large(1001));
}

#[test]
fn a_message_is_read_frame_by_frame_until_it_is_claimed() {
    let mut reader = claimed(8);
    let mut input = BytesMut::from(&[0x01, 1, b'a', 0x89, 0, 0x00, 1, b'b', 0x80, 1, b'c', 0x81, 1, b'd'][..]);
    let mut next = || reader.next_unit(&mut input);
    assert_eq!(next(), fragment(Opcode::Text, false, b"a", 1));
    assert_eq!(next(), Ok(Some(Unit::Message(Message::Ping("".into())))));
    assert_eq!(next(), fragment(Opcode::Continuation, false, b"b", 2));
    assert_eq!(next(), fragment(Opcode::Continuation, true, b"c", 3));
    assert_eq!(next(), Ok(Some(Unit::Message(Message::Text("d".into())))));
    assert_eq!(next(), Ok(None));
}

#[test]
fn reading_stops_when_what_is_held_or_announced_is_too_much_for_an_unclaimed_message() {
    // More than is held of a message, and a frame that makes the message larger than may be read whole.
    let (mut within, mut before) = (vec![0x82, 100], vec![0x02, 1, 0, 0x80, 0x7E, 0x03, 0xE8]);
    within.extend([7; 100]);
    before.extend([7; 1000]);
    for (wire, arrives, size) in [(&within, 12, 100), (&before, 10, 1001)] {
        let stopped = || {
            let mut reader = claimed(8);
            let mut input = BytesMut::from(&wire[..arrives]);
            while reader.next_unit(&mut input).unwrap().is_some() {}
            assert!(reader.is_stopped() && reader.read_in_place().is_none());
            input.extend_from_slice(&wire[arrives..]);
            assert_eq!(reader.next_unit(&mut input), Ok(None));
            assert!(reader.held() <= 10);
            (reader, input)
        };
        let (mut reader, mut input) = stopped();
        reader.claim_whole([Bytes::from_static(&[0])]);
        match reader.next_unit(&mut input) {
            Ok(unit) => assert_eq!(unit, Some(Unit::Message(Message::Binary(vec![7; 100].into())))),
            Err(violation) => assert_eq!(violation, Violation::TooLarge { size, limit: 1000 }),
        }
        let (mut reader, mut input) = stopped();
        reader.claim(Claim::Frame);
        let unit = reader.next_unit(&mut input).unwrap();
        let expected = match size {
            100 => Unit::Message(Message::Binary(vec![7; 100].into())),
            _ => {
                let frame = Frame { opcode: Opcode::Continuation, is_final: true, payload: vec![7; 1000].into() };
                Unit::Fragment { frame, size }
            }
        };
        assert_eq!(unit, Some(expected));
        let (mut reader, mut input) = stopped();
        reader.claim(Claim::Discarded);
        assert_eq!((reader.kind(), reader.held()), (None, 0));
        assert_eq!(reader.next_unit(&mut input), Ok(Some(Unit::Discarded { size })));
        assert!(input.is_empty() && !reader.is_within_message());
    }
}

#[test]
fn each_claim_has_its_own_limit() {
    let header = [0x82, 0x7E, 0x07, 0xD0];
    for (claim, expected) in [
        (Claim::Whole, Err(Violation::TooLarge { size: 2000, limit: 1000 })),
        (Claim::Frame, Err(Violation::TooLarge { size: 2000, limit: 1000 })),
        (Claim::Pieces, Ok(None)),
        (Claim::Discarded, Ok(None)),
    ] {
        let (mut reader, mut input) = (claimed(8), BytesMut::from(&header[..]));
        assert_eq!(reader.next_unit(&mut input), Ok(None));
        assert!(reader.is_stopped());
        reader.claim(claim);
        assert_eq!(reader.next_unit(&mut input), expected, "{claim:?}");
        assert!(!reader.is_stopped());
    }
    let (mut reader, mut input) = (claimed(8), BytesMut::from(&[0x82, 0x7E, 0x07, 0xD1][..]));
    assert_eq!(reader.next_unit(&mut input), Ok(None));
    reader.claim(Claim::Pieces);
    assert_eq!(reader.next_unit(&mut input), Err(Violation::TooLarge { size: 2001, limit: 2000 }));
}

#[test]
fn text_in_pieces_fails_at_its_first_invalid_byte_and_ends_with_a_whole_character() {
    let pieces = |wire: &[u8]| {
        let (mut reader, mut input) = (claimed(100), BytesMut::new());
        let mut taken = Vec::new();
        for byte in wire {
            input.extend_from_slice(&[*byte]);
            let unit = reader.next_unit(&mut input)?;
            reader.claim(Claim::Pieces);
            taken.extend(reader.take_piece().unwrap_or_default());
            if let Some(Unit::Fragment { frame, .. }) = unit {
                taken.extend(frame.payload);
            }
        }
        Ok(taken)
    };
    assert_eq!(pieces(&[0x81, 3, b'a', 0xC3, 0xA9]), Ok("aé".as_bytes().to_vec()));
    assert_eq!(pieces(&[0x01, 2, b'a', 0xC3, 0x80, 1, 0xA9]), Ok("aé".as_bytes().to_vec()));
    assert_eq!(pieces(&[0x81, 3, b'a', 0xC3, 0x28]), Err(Violation::Utf8));
    assert_eq!(pieces(&[0x81, 100, 0xFF]), Err(Violation::Utf8));
    assert_eq!(pieces(&[0x81, 2, b'a', 0xC3]), Err(Violation::Utf8));
    assert_eq!(pieces(&[0x01, 2, b'a', 0xC3, 0x80, 0]), Err(Violation::Utf8));
}

#[test]
fn every_message_may_be_discarded() {
    let mut reader = claimed(8);
    let mut input = BytesMut::from(&[0x01, 1, b'a', 0x80, 1, 0xFF, 0x89, 0, 0x81, 2, 0xFF][..]);
    reader.next_unit(&mut input).unwrap();
    reader.discard_all();
    assert_eq!(reader.next_unit(&mut input), Ok(Some(Unit::Discarded { size: 2 })));
    assert_eq!(reader.next_unit(&mut input), Ok(Some(Unit::Message(Message::Ping("".into())))));
    assert_eq!(reader.next_unit(&mut input), Ok(None));
    input.extend_from_slice(b"b");
    assert_eq!(reader.next_unit(&mut input), Ok(Some(Unit::Discarded { size: 2 })));
}

#[test]
fn an_announced_size_reserves_nothing() {
    let mut reader = MessageReader::new(Role::Client, ReadLimits::new(usize::MAX));
    let mut input = BytesMut::from(&[0x82, 0x7F, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3][..]);
    assert_eq!(reader.next_unit(&mut input), Ok(None));
    assert!(reader.reserved() < 64, "{}", reader.reserved());
}

#[test]
fn control_frames_may_come_between_fragments() {
    let wire = [0x01, 0x01, b'a', 0x89, 0x01, b'p', 0x80, 0x01, b'b', 0x88, 0x00];
    assert_eq!(
        read(Role::Client, &wire).unwrap(),
        [Message::Ping("p".into()), Message::Text("ab".into()), Message::Close(CloseInfo { code: 1005, reason: None })]
    );
}

fn messages() -> impl Strategy<Value = Message> {
    let control = || proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Bytes::from);
    let code = prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..5000];
    prop_oneof![
        any::<String>().prop_map(Message::Text),
        proptest::collection::vec(any::<u8>(), 0..70_000).prop_map(|data| Message::Binary(data.into())),
        control().prop_map(Message::Ping),
        control().prop_map(Message::Pong),
        (code, proptest::option::of("[a-zé€]{1,20}"))
            .prop_map(|(code, reason)| Message::Close(CloseInfo { code, reason })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_arrive_as_they_were_sent_however_the_bytes_are_cut(
        sent in proptest::collection::vec(messages(), 1..5),
        cut in prop_oneof![1usize..3000, 3000usize..80_000],
        client: bool, first in (0usize..20_000).prop_map(|words| 4 * words),
    ) {
        let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut output = BytesMut::new();
        let mut writer = MessageWriter::new(from, Box::new(|| [3, 1, 4, 1]), usize::MAX);
        for message in &sent {
            let payload = MessageRef::from(message).payload();
            let mut payload = writer.begin(MessageRef::from(message).opcode(), &payload, &mut output);
            [first, usize::MAX].iter().for_each(|most| payload.put(*most, &mut output));
        }
        let wire = output.freeze();
        let (mut reader, mut input, mut received) = (MessageReader::new(to, ReadLimits::new(1 << 20)), BytesMut::new(), Vec::new());
        for mut part in wire.chunks(cut) {
            while !part.is_empty() {
                match reader.read_in_place() {
                    Some(mut buffer) if input.is_empty() => {
                        let count = part.len().min(buffer.chunk_mut().len());
                        buffer.put_slice(part.split_off(..count).unwrap());
                    }
                    _ => input.extend_from_slice(std::mem::take(&mut part)),
                }
                while let Some(unit) = reader.next_unit(&mut input).unwrap() {
                    received.push(whole(unit));
                }
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(input.is_empty() && !reader.is_within_message());
    }

    #[test]
    fn messages_arrive_as_they_were_sent_however_they_are_claimed(
        sent in proptest::collection::vec((messages(), 1usize..40_000), 1..6),
        cut in prop_oneof![1usize..3000, 3000usize..80_000],
        claims in proptest::collection::vec(0usize..6, 1..50),
        hold in prop_oneof![1usize..100, 100usize..100_000],
        client: bool,
    ) {
        let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut output = BytesMut::new();
        for (message, fragment_size) in &sent {
            let mut writer = MessageWriter::new(from, Box::new(|| [3, 1, 4, 1]), *fragment_size);
            writer.message(MessageRef::from(message), &mut output);
        }
        let wire = output.freeze();
        let mut limits = ReadLimits::new(1 << 20);
        limits.hold = Some(hold);
        let (mut reader, mut input) = (MessageReader::new(to, limits), BytesMut::new());
        let mut claims = claims.into_iter().cycle();
        let mut received: Vec<Option<Message>> = Vec::new();
        // What was handed out of the current message.
        let (mut kind, mut parts): (Option<MessageKind>, Vec<Bytes>) = (None, Vec::new());
        for mut part in wire.chunks(cut) {
            loop {
                match reader.read_in_place() {
                    Some(mut buffer) if input.is_empty() => {
                        let count = part.len().min(buffer.chunk_mut().len());
                        buffer.put_slice(part.split_off(..count).unwrap());
                    }
                    _ => input.extend_from_slice(std::mem::take(&mut part)),
                }
                while let Some(unit) = reader.next_unit(&mut input).unwrap() {
                    match unit {
                        Unit::Message(message) => received.push(Some(message)),
                        Unit::Discarded { .. } => received.push(None),
                        Unit::Fragment { frame, size } => {
                            prop_assert_eq!(frame.opcode == Opcode::Continuation, !parts.is_empty());
                            kind = if frame.opcode == Opcode::Text { Some(MessageKind::Text) } else { kind };
                            parts.push(frame.payload);
                            prop_assert!(parts.iter().map(Bytes::len).sum::<usize>() as u64 == size);
                            if frame.is_final {
                                let data = std::mem::take(&mut parts).concat();
                                received.push(Some(match kind.take() {
                                    Some(MessageKind::Text) => Message::Text(String::from_utf8(data).unwrap()),
                                    _ => Message::Binary(data.into()),
                                }));
                            }
                        }
                    }
                }
                if !matches!(reader.claimed(), Some(Claim::Whole | Claim::Frame)) {
                    prop_assert!(reader.held() <= hold + cut);
                }
                let is_stopped = reader.is_stopped();
                match claims.next().unwrap() {
                    0 => reader.claim_whole(parts.drain(..)),
                    1 => reader.claim(Claim::Frame),
                    2 => {
                        parts.clear();
                        kind = None;
                        reader.claim(Claim::Discarded);
                    }
                    number if is_stopped || number == 3 => {
                        kind = kind.or(reader.kind());
                        reader.claim(Claim::Pieces);
                        parts.extend(reader.take_piece());
                    }
                    _ => {}
                }
                if part.is_empty() && !is_stopped {
                    break;
                }
            }
        }
        prop_assert_eq!(received.len(), sent.len());
        for (received, (sent, _)) in received.iter().zip(&sent) {
            prop_assert!(received.as_ref().is_none_or(|received| received == sent));
        }
        prop_assert!(input.is_empty() && !reader.is_within_message());
    }

    #[test]
    fn no_input_panics_or_makes_the_reader_reserve_more_than_it_read(
        wire in proptest::collection::vec(any::<u8>(), 0..200), client: bool, hold in proptest::option::of(1usize..100),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut limits = ReadLimits::new(usize::MAX);
        limits.hold = hold;
        let (mut reader, mut input) = (MessageReader::new(role, limits), BytesMut::from(&wire[..]));
        while let Ok(Some(_)) = reader.next_unit(&mut input) {}
        prop_assert!(reader.reserved() <= 4096);
    }
}
