//! Compressed messages (RFC 7692): both ways, whole and in pieces, their limits, and the memory that they hold.

use super::*;
use crate::{
    PreparedMessage,
    deflate::{self, Compressor, MemoryBudget, Offer, Options},
    message::MessageKind,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const TEXT: &str = "a text that repeats itself, a text that repeats itself, a text that repeats itself";
/// The first bytes of frames: the end of a message, RSV1, the opcode.
const COMPRESSED_TEXT: u8 = 0xC1;
const COMPRESSED_BINARY: u8 = 0xC2;
const PLAIN_TEXT: u8 = 0x81;

fn options(takeover: bool) -> Options {
    Options { compress_takeover: takeover, inflate_takeover: takeover, min_size: 20, ..Options::default() }
}

/// A client and a server that agreed on compression.
fn pair_with(config: impl Fn(Role) -> Config, options: Options, budget: &MemoryBudget) -> [Connection; 2] {
    let offer = Offer::new(options, budget);
    let answer = deflate::answer([offer.header().as_bytes()], options, budget).unwrap().unwrap();
    let client = offer.accept([answer.header.as_bytes()]).unwrap().unwrap();
    [(Role::Client, client), (Role::Server, answer.compression)].map(|(role, compression)| {
        Connection::new(config(role), Box::new(|| [1, 2, 3, 4]), now()).with_compression(compression)
    })
}

fn pair(takeover: bool) -> [Connection; 2] {
    pair_with(Config::new, options(takeover), &MemoryBudget::new(1 << 20))
}

/// Moves what `from` has to send, and returns it.
fn pass(from: &mut Connection, to: &mut Connection) -> Vec<u8> {
    from.flush();
    let bytes = from.transmit().to_vec();
    from.transmitted(bytes.len());
    from.flushed();
    to.receive_bytes(&bytes, now());
    to.read_blocked();
    bytes
}

fn sent(outcome: Poll<Result<Sent, SendError>>) {
    assert!(matches!(outcome, Poll::Ready(Ok(_))), "{outcome:?}");
}

fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut output = BytesMut::new();
    Compressor::new(15, 6, false).piece(payload, true, &mut output);
    output.to_vec()
}

/// A server's frame with RSV1.
fn compressed_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    FrameWriter::new(Role::Server, Box::new(|| [0; 4])).compressed(opcode, true, payload, &mut bytes);
    bytes.to_vec()
}

/// The close code that a client without unread messages answers to these bytes.
fn answer_to(connection: &mut Connection, bytes: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    connection.receive_bytes(bytes, now());
    written(connection)
}

#[test]
fn messages_are_compressed_both_ways() {
    for takeover in [false, true] {
        let mut ends = pair(takeover);
        let mut sizes = Vec::new();
        for round in 0..3 {
            for (from, to) in [(0, 1), (1, 0)] {
                let [from, to] = ends.get_disjoint_mut([from, to]).unwrap();
                sent(from.send(MessageRef::Text(TEXT)));
                sent(from.send(MessageRef::Binary(TEXT.as_bytes())));
                let bytes = pass(from, to);
                assert_eq!(bytes[0], COMPRESSED_TEXT);
                sizes.push(bytes.len());
                assert_eq!(to.try_receive(), Some(Message::Text(TEXT.into())));
                assert_eq!(to.try_receive(), Some(Message::Binary(TEXT.into())));
                assert_eq!(from.stats().sent.bytes, 2 * (round + 1) * TEXT.len() as u64);
                assert_eq!(to.stats().received.bytes, from.stats().sent.bytes);
            }
        }
        assert!(sizes[0] < TEXT.len() * 2);
        // Later messages refer to the first one.
        assert_eq!(sizes[5] < sizes[1] / 2, takeover, "{sizes:?}");
    }
}

#[test]
fn small_messages_and_those_that_opt_out_are_sent_as_they_are() {
    let [mut client, mut server] = pair(true);
    sent(server.send(MessageRef::Text("short")));
    assert_eq!(pass(&mut server, &mut client)[0], PLAIN_TEXT);
    sent(server.send_uncompressed(MessageRef::Text(TEXT)));
    assert_eq!(pass(&mut server, &mut client)[0], PLAIN_TEXT);
    sent(server.send(MessageRef::Text(TEXT)));
    assert_eq!(pass(&mut server, &mut client)[0], COMPRESSED_TEXT);
    for text in ["short", TEXT, TEXT] {
        assert_eq!(client.try_receive(), Some(Message::Text(text.into())));
    }
}

#[test]
fn a_compressed_message_is_a_violation_unless_it_was_negotiated() {
    let bytes = compressed_frame(Opcode::Text, &compressed(TEXT.as_bytes()));
    let mut plain = connection(Role::Client);
    assert_eq!(answer_to(&mut plain, &bytes), [close_frame(1002)]);
    let [mut client, _] = pair(false);
    assert_eq!(answer_to(&mut client, &bytes), []);
    assert_eq!(client.try_receive(), Some(Message::Text(TEXT.into())));
}

#[test]
fn the_close_code_tells_what_is_wrong_with_a_compressed_message() {
    let limit = Config::new(Role::Client).max_message_size;
    for (payload, code) in [
        (compressed(&vec![0; limit + 1]), 1009),
        (compressed(TEXT.as_bytes())[..9].to_vec(), 1007),
        (vec![0xFF; 9], 1007),
        (compressed(b"not UTF-8: \xFF"), 1007),
    ] {
        let [mut client, _] = pair(false);
        let answer = answer_to(&mut client, &compressed_frame(Opcode::Text, &payload));
        assert_eq!(answer, [close_frame(code)], "{} bytes", payload.len());
        let failed = client.receive();
        assert!(matches!(failed, Poll::Ready(Err(ReceiveError::Failed(Failure::Violation(_))))), "{failed:?}");
    }
}

#[test]
fn a_bomb_costs_the_limit() {
    let config = |role| Config { max_message_size: 50_000, ..Config::new(role) };
    let [mut client, _] = pair_with(config, options(false), &MemoryBudget::new(0));
    let bomb = compressed(&vec![0; 32 << 20]);
    let bytes = compressed_frame(Opcode::Binary, &bomb);
    let mut most = 0;
    for piece in bytes.chunks(1000) {
        client.receive_bytes(piece, now());
        most = most.max(client.buffered());
    }
    assert_eq!(written(&mut client), [close_frame(1009)]);
    assert!(most < 2 * 50_000 + 64 * 1024, "{most}");
}

#[test]
fn a_message_in_pieces_is_compressed_in_pieces() {
    for takeover in [false, true] {
        let config = |role| Config { streams: true, ..Config::new(role) };
        let [mut client, mut server] = pair_with(config, options(takeover), &MemoryBudget::new(1 << 20));
        for _ in 0..2 {
            assert!(client.send_stream(MessageKind::Binary).is_ready());
            let mut received = Vec::new();
            for number in 0..5 {
                let piece = vec![number; 30_000];
                assert!(matches!(client.send_piece(&piece, number == 4), Poll::Ready(Ok((30_000, _)))));
                let bytes = pass(&mut client, &mut server);
                assert!(bytes.len() < 1000);
                assert_eq!(bytes[0] & 0xF0, [0x40, 0, 0, 0, 0x80][usize::from(number)]);
                if number == 0 {
                    assert!(matches!(server.receive_stream(), Poll::Ready(Ok(Some(MessageKind::Binary)))));
                }
                // Each piece arrives before the next one is sent.
                while let Poll::Ready(Ok(piece)) = server.receive_piece() {
                    received.extend_from_slice(&piece.data);
                    server.resume(now());
                    if piece.is_last {
                        break;
                    }
                }
                assert_eq!(received.len(), 30_000 * (usize::from(number) + 1));
            }
        }
        // One short piece is as a short message is.
        assert!(client.send_stream(MessageKind::Text).is_ready());
        assert!(client.send_piece(b"short", true).is_ready());
        assert_eq!(pass(&mut client, &mut server)[0], PLAIN_TEXT);
        assert_eq!(server.try_receive(), Some(Message::Text("short".into())));
    }
}

#[test]
fn a_compressed_message_in_pieces_is_held_back_while_nobody_takes_it() {
    let config = |role| Config { streams: true, inbound_buffer: 10_000, ..Config::new(role) };
    let [mut client, _] = pair_with(config, options(false), &MemoryBudget::new(0));
    let size = 8 << 20;
    client.receive_bytes(&compressed_frame(Opcode::Binary, &compressed(&vec![7; size])), now());
    assert!(client.buffered() < 120_000, "{}", client.buffered());
    assert!(client.read_buffer().is_none());
    assert!(matches!(client.receive_stream(), Poll::Ready(Ok(Some(MessageKind::Binary)))));
    let (mut received, mut rounds) = (0, 0);
    loop {
        client.resume(now());
        assert!(client.buffered() < 120_000, "{}", client.buffered());
        let Poll::Ready(Ok(piece)) = client.receive_piece() else { panic!("nothing after {received} bytes") };
        received += piece.data.len();
        rounds += 1;
        if piece.is_last {
            break;
        }
    }
    assert_eq!(received, size);
    assert!(rounds > size / 20_000);
}

/// A client that has begun to receive a compressed message of this size in pieces, and discards it.
fn discarding(size: usize, max_stream_size: u64) -> Connection {
    let config = |role| Config { streams: true, max_stream_size, ..Config::new(role) };
    let [mut client, _] = pair_with(config, options(true), &MemoryBudget::new(1 << 20));
    client.receive_bytes(&compressed_frame(Opcode::Binary, &compressed(&vec![7; size])), now());
    assert!(matches!(client.receive_stream(), Poll::Ready(Ok(Some(MessageKind::Binary)))));
    client.discard_stream();
    client
}

#[test]
fn a_compressed_message_that_is_discarded_lets_others_have_their_turn() {
    let mut client = discarding(20 << 20, u64::MAX);
    let mut turns = 0;
    while client.stats().received.messages == 0 {
        client.resume(now());
        assert_eq!(client.wants_resume(), client.stats().received.messages == 0);
        turns += 1;
    }
    assert!((19..=21).contains(&turns), "{turns}");
    assert_eq!(client.stats().received.bytes, 20 << 20);
    assert!(client.read_buffer().is_some());
}

#[test]
fn a_compressed_message_that_is_discarded_is_no_larger_than_one_in_pieces() {
    for (limit, expected) in [(1_000_000, vec![]), (999_999, vec![close_frame(1009)])] {
        let mut client = discarding(1_000_000, limit);
        client.resume(now());
        assert_eq!(written(&mut client), expected);
    }
}

#[test]
fn unread_compressed_messages_are_bounded_when_closing_times_out() {
    let config = |role| Config { inbound_buffer: 10_000, ..Config::new(role) };
    let [mut client, _] = pair_with(config, options(false), &MemoryBudget::new(0));
    client.close(Some(&CLOSE), now());
    client.receive_bytes(&compressed_frame(Opcode::Binary, &compressed(&vec![7; 50_000])).repeat(600), now());
    client.handle_timeout(now() + CLOSE_TIMEOUT);
    assert_eq!(name(&client), Closed);
    assert!(client.buffered() < 200_000, "{}", client.buffered());
    assert!(client.stats().received.messages > 1, "messages behind the full inbox are decoded");
}

#[test]
fn compression_that_is_negotiated_and_idle_takes_less_than_200_bytes() {
    let boxes = size_of::<deflate::Inflater>() + size_of::<Compressor>() + size_of::<usize>();
    assert!(boxes + size_of::<Option<Agreed>>() < 200, "{boxes}");
}

#[test]
fn an_idle_connection_holds_nothing_without_context_takeover_and_its_history_with_it() {
    for (takeover, most) in [(false, 0), (true, 40 * 1024)] {
        let budget = MemoryBudget::new(100 << 10);
        let [mut client, mut server] = pair_with(Config::new, options(takeover), &budget);
        for _ in 0..20 {
            sent(client.send(MessageRef::Text(&TEXT.repeat(100))));
            pass(&mut client, &mut server);
            sent(server.send(MessageRef::Text(&TEXT.repeat(100))));
            pass(&mut server, &mut client);
            assert!(client.try_receive().is_some() && server.try_receive().is_some());
        }
        let held = client.buffered() + server.buffered();
        assert!(held <= 2 * most && (held > 0) == takeover, "{held}");
        assert!(held <= (100 << 10) - budget.remaining());
        // A closed connection holds nothing.
        assert!(client.compression().is_some());
        client.abort();
        server.abort();
        assert_eq!((client.buffered(), server.buffered(), budget.remaining()), (0, 0, 100 << 10));
        assert!(client.compression().is_none());
    }
}

#[test]
fn a_prepared_message_is_received_as_every_other_is() {
    let message = PreparedMessage::text(TEXT);
    let small = PreparedMessage::binary(&b"small"[..]);
    let fragmented = |role| Config { fragment_size: 15, ..Config::new(role) };
    let none = || [Role::Client, Role::Server].map(connection);
    let compressing = || pair_with(fragmented, options(false), &MemoryBudget::new(0));
    for mut ends in [none(), pair(false), pair(true), compressing(), compressing()] {
        let is_compressed = ends[0].compression().is_some();
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 0)] {
                let [from, to] = ends.get_disjoint_mut([from, to]).unwrap();
                sent(from.send_prepared(&message));
                sent(from.send_prepared(&small));
                from.confirm_prepared(&small).unwrap();
                let bytes = pass(from, to);
                assert_eq!(bytes[0] & 0x40 != 0, is_compressed);
                assert_eq!(to.try_receive(), Some(Message::Text(TEXT.into())));
                assert_eq!(to.try_receive(), Some(Message::Binary("small".into())));
            }
        }
        assert_eq!(ends[1].stats().sent.bytes, 2 * (TEXT.len() + 5) as u64);
    }
    let [mut client, _] = pair(false);
    client.close(None, now());
    assert!(matches!(client.send_prepared(&message), Poll::Ready(Err(SendError::Closed))));
    let [mut server, _] =
        pair_with(|role| Config { max_message_size: 3, ..Config::new(role) }, options(false), &MemoryBudget::new(0));
    assert!(matches!(server.send_prepared(&message), Poll::Ready(Err(SendError::Invalid(_)))));
}

#[test]
fn noise_is_sent_as_it_is_and_compressed_binary_is_marked() {
    let [mut client, mut server] = pair(true);
    let mut noise = vec![0; 300];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let zeros = vec![0; 300];
    for (data, first) in [(&noise, 0x82), (&zeros, COMPRESSED_BINARY), (&noise, 0x82)] {
        sent(server.send(MessageRef::Binary(data)));
        assert_eq!(pass(&mut server, &mut client)[0], first);
        assert_eq!(client.try_receive(), Some(Message::Binary(data.clone().into())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_peer_panic_or_hold_more_than_the_limits(
        pieces in proptest::collection::vec((0u8..4, proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..20),
        streams: bool, takeover: bool,
    ) {
        let config = |role| Config { streams, max_message_size: 5000, inbound_buffer: 1000, ..Config::new(role) };
        let [mut client, _] = pair_with(config, options(takeover), &MemoryBudget::new(1 << 20));
        for (kind, payload, receive) in pieces {
            let bytes = match kind {
                0 => compressed_frame(Opcode::Binary, &compressed(&payload.repeat(100))),
                1 => compressed_frame(Opcode::Text, &payload),
                2 => [&[0x42, payload.len() as u8], &payload[..]].concat(),
                _ => [&[0x80, payload.len() as u8], &payload[..]].concat(),
            };
            client.receive_bytes(&bytes, now());
            client.resume(now());
            prop_assert!(client.buffered() < 120_000, "{}", client.buffered());
            if receive {
                let _ = client.try_receive();
            }
        }
    }
}
