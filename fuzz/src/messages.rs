//! Frames, compressed ones among them, to messages: the product's reader, in pieces, beside [a plain decoder](crate::reference)
//! with another inflater, and beside the reader of another library, sockudo-ws.

use crate::{
    guest::flat,
    peer::frame,
    reference::{BINARY, CLOSE, Compression, End, Frame, PING, PONG, Stream, TEXT, decode_compressed},
};
use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::{BufMut, BytesMut};
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params};
use sockudo_ws::{Message as OtherMessage, deflate::DeflateConfig, protocol::CompressedReaderProtocol};
use websocket_protocol::{
    Role, Violation,
    deflate::Inflater,
    message::{MessageReader, ReadLimits, Unit},
};

/// The most that the other library may inflate.
const OTHER_LIMIT: usize = 1 << 20;

#[derive(Debug)]
struct Case {
    is_client: bool,
    compression: Option<Compression>,
    largest: usize,
    cut: usize,
    wire: Vec<u8>,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(data: &mut Unstructured<'_>) -> Result<Self> {
        let [flags, largest, cut]: [u8; 3] = data.arbitrary()?;
        let is_client = flags & 1 == 0;
        let mut wire = Vec::new();
        while !data.is_empty() {
            let (step, first): (u8, u8) = data.arbitrary()?;
            let payload = payload(data)?;
            match step % 4 {
                0 => wire.extend([&[first][..], &payload].concat()),
                1 => wire.extend(frame(first, &payload, !is_client)),
                2 => wire.extend(frame(first, &deflated(&payload, false), !is_client)),
                _ => wire.extend(frame(first, &deflated(&payload, true), !is_client)),
            }
        }
        Ok(Case {
            is_client,
            compression: (flags & 2 == 0).then_some(Compression { takeover: flags & 4 != 0 }),
            largest: 1 << (largest % 18),
            cut: usize::from(cut) + 1,
            wire,
        })
    }
}

/// A byte for the length, and the payload; or 255, and a byte that is repeated as often as two more say.
pub fn payload(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match data.arbitrary()? {
        u8::MAX => Ok(vec![data.arbitrary()?; data.arbitrary::<u16>()?.into()]),
        length => {
            let length = usize::from(length).min(data.len());
            Ok(data.bytes(length)?.to_vec())
        }
    }
}

/// The payload of a compressed message (RFC 7692 section 7.2.1), in blocks of which the last one may be final.
pub fn deflated(payload: &[u8], is_final: bool) -> Vec<u8> {
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(6, 0, 0));
    let mut output = Vec::new();
    let flush = if is_final { TDEFLFlush::Finish } else { TDEFLFlush::Sync };
    compress_to_output(&mut compressor, payload, flush, |data| {
        output.extend_from_slice(data);
        true
    });
    match output.strip_suffix(&[0, 0, 0xFF, 0xFF]) {
        Some(rest) if !is_final => rest.to_vec(),
        _ => output,
    }
}

/// Runs one case.
pub fn messages(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let expected = decode_compressed(&case.wire, !case.is_client, case.largest, case.compression);
    let (messages, end) = read(&case);
    compare(&messages, end, &expected);
    compare_other(&case, &messages, end, expected.rest == 0);
}

/// What the product reads of the wire, in pieces.
fn read(case: &Case) -> (Vec<Frame>, End) {
    let role = if case.is_client { Role::Client } else { Role::Server };
    let mut reader = MessageReader::new(role, ReadLimits::new(case.largest));
    if let Some(compression) = case.compression {
        reader.set_inflater(Inflater::new(15, compression.takeover));
    }
    let (mut input, mut messages) = (BytesMut::new(), Vec::new());
    for mut piece in case.wire.chunks(case.cut) {
        while !piece.is_empty() {
            let count = match reader.read_in_place().filter(|_| input.is_empty()) {
                Some(mut place) => {
                    let count = piece.len().min(place.remaining_mut());
                    place.put_slice(&piece[..count]);
                    count
                }
                None => {
                    input.extend_from_slice(piece);
                    piece.len()
                }
            };
            piece = &piece[count..];
            loop {
                reader.begin_turn();
                match reader.next_unit(&mut input) {
                    Ok(Some(Unit::Message(message))) => messages.push(flat(message)),
                    Ok(Some(unit)) => panic!("{unit:?} of messages that are read whole"),
                    Ok(None) if reader.is_turn_over() => {}
                    Ok(None) => break,
                    Err(violation) => return (messages, broken(&violation)),
                }
                if messages.last().is_some_and(|(kind, _)| *kind == CLOSE) {
                    return (messages, End::Closed);
                }
                assert!(reader.held() <= case.largest, "a message is larger than the limit");
            }
        }
    }
    (messages, End::Cut)
}

fn broken(violation: &Violation) -> End {
    End::Broken(violation.close_code())
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Holds what the product read to what the plain decoder read.
fn compare(messages: &[Frame], end: End, expected: &Stream) {
    let Some(missing) = expected.messages.strip_prefix(messages) else {
        panic!("{messages:?} instead of {:?}", expected.messages);
    };
    // The product finds a compressed message invalid or too large before the last frame of it, and before control frames
    // between its frames.
    let is_early = matches!(end, End::Broken(1007 | 1009)) && missing.iter().all(|(kind, _)| *kind >= CLOSE);
    assert!(missing.is_empty() || is_early, "{missing:?} is missing");
    match (end, expected.end) {
        (End::Broken(1007 | 1009), End::TooLargeOrInvalid) => {}
        (End::Broken(1007 | 1009), _) if expected.within_compressed => {}
        (end, expected) => assert_eq!(end, expected),
    }
}

/// Holds what the product read to what the other library reads of the wire at once. It has other limits.
fn compare_other(case: &Case, messages: &[Frame], end: End, are_frames_whole: bool) {
    let Some(compression) = case.compression else { return };
    // With context takeover, sockudo-ws 3.1 inflates wrongly what follows an empty message.
    let is_empty = |(kind, payload): &Frame| matches!(*kind, TEXT | BINARY) && payload.is_empty();
    if compression.takeover && messages.iter().any(is_empty) {
        return;
    }
    let config = DeflateConfig {
        server_no_context_takeover: !compression.takeover,
        client_no_context_takeover: !compression.takeover,
        ..DeflateConfig::default()
    };
    let mut reader = if case.is_client {
        CompressedReaderProtocol::client(OTHER_LIMIT, OTHER_LIMIT, &config)
    } else {
        CompressedReaderProtocol::server(OTHER_LIMIT, OTHER_LIMIT, &config)
    };
    let mut others = Vec::new();
    let outcome = reader.process_into(&mut BytesMut::from(&case.wire[..]), &mut others);
    let others: Vec<_> = others.into_iter().map(flat_other).collect();
    assert!(others.starts_with(messages), "{messages:?}, and sockudo-ws reads {others:?}");
    if matches!(end, End::Cut | End::Broken(1002)) {
        assert_eq!(others.len(), messages.len(), "sockudo-ws reads {others:?}");
    }
    if end == End::Cut && are_frames_whole {
        assert!(outcome.is_ok(), "{outcome:?} in sockudo-ws");
    }
}

fn flat_other(message: OtherMessage) -> Frame {
    match message {
        OtherMessage::Text(text) => (TEXT, text.into()),
        OtherMessage::Binary(data) => (BINARY, data.into()),
        OtherMessage::Ping(data) => (PING, data.into()),
        OtherMessage::Pong(data) => (PONG, data.into()),
        OtherMessage::Close(None) => (CLOSE, vec![]),
        OtherMessage::Close(Some(reason)) => (CLOSE, close(reason.code, &reason.reason)),
    }
}
