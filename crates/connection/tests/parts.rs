//! Messages in pieces and frames: what is on the wire, what happens in the middle of a message, limits, and cancelled calls.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{client_async, tungstenite};
use websocket_connection::{
    AcceptConfig, Connection, ConnectionState::*, Endpoint, Error, Established, Frame, Message, MessageKind, Opcode,
    ReceiveStream, Role,
};

/// The first byte of a text or binary message's first fragment, of its continuation, and of its last one.
const TEXT_BEGINS: u8 = 0x01;
const BINARY_BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;

const KIB: usize = 1024;

/// A connection with streams, and its peer.
async fn streaming(changes: &[(&str, &str)]) -> (Connection, Peer) {
    open_as(&endpoint(changes), |config| config.streams = true).await
}

async fn stream(connection: &Connection) -> ReceiveStream {
    soon(connection.receive_stream()).await.unwrap().expect("the peer has not closed")
}

/// The rest of a message in pieces.
async fn rest(stream: &mut ReceiveStream) -> Result<Vec<u8>, Error> {
    let mut data = Vec::new();
    while let Some(piece) = soon(stream.next()).await? {
        assert!(!piece.is_empty());
        data.extend_from_slice(&piece);
    }
    Ok(data)
}

fn frame_of(opcode: Opcode, is_final: bool, payload: impl AsRef<[u8]>) -> Frame {
    Frame { opcode, is_final, payload: payload.as_ref().to_vec().into() }
}

/// Both ends of one connection, with streams.
async fn both_ends(endpoint: &Endpoint) -> (Connection, Connection) {
    let mut config = AcceptConfig::new();
    config.streams = true;
    let (at, mut accepted) = serve_with(endpoint, &config).await;
    let client = soon(endpoint.connect(to_with(format!("ws://{at}/"), |config| config.streams = true))).await.unwrap();
    (client, soon(accepted.recv()).await.unwrap().unwrap())
}

#[tokio::test]
async fn a_message_of_any_size_passes_both_ways_in_pieces() {
    // Larger than the host's limit for messages.
    const SIZE: usize = 96 << 20;
    let endpoint = endpoint(&[]);
    let (client, server) = both_ends(&endpoint).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let sent = async {
            let mut stream = from.send_stream(MessageKind::Binary).await.unwrap();
            let mut chunk = vec![0; 100_000];
            for number in 0..SIZE / chunk.len() {
                chunk[..8].copy_from_slice(&(number as u64).to_be_bytes());
                stream.write_all(&chunk).await.unwrap();
            }
            stream.finish().await.unwrap();
        };
        let received = async {
            let mut stream = stream(to).await;
            assert_eq!(stream.kind(), MessageKind::Binary);
            let mut count = 0;
            while let Some(piece) = soon(stream.next()).await.unwrap() {
                assert!(piece.len() <= 512 * KIB, "a piece of {} bytes", piece.len());
                for (at, byte) in (count..).zip(&piece[..]).filter(|(at, _)| at % 100_000 < 8) {
                    assert_eq!(*byte, ((at / 100_000) as u64).to_be_bytes()[at % 100_000]);
                }
                count += piece.len();
            }
            assert_eq!(count, SIZE / 100_000 * 100_000);
        };
        tokio::time::timeout(Duration::from_secs(120), async { tokio::join!(sent, received) }).await.unwrap();
    }
    soon(client.send("whole")).await.unwrap();
    assert_eq!(next(&server).await, Ok(Message::Text("whole".into())));
}

#[tokio::test]
async fn another_implementation_reads_what_is_sent_in_pieces_and_its_fragments_are_read_in_pieces() {
    let mut config = AcceptConfig::new();
    config.streams = true;
    let (at, mut accepted) = serve_with(&endpoint(&[("fragment-size", "1KiB")]), &config).await;
    let tcp = TcpStream::connect(&at).await.unwrap();
    let mut client = soon(client_async(format!("ws://{at}/"), tcp)).await.unwrap().0;
    let server = soon(accepted.recv()).await.unwrap().unwrap();
    let text = "grün".repeat(20_000);
    let mut sending = soon(server.send_stream(MessageKind::Text)).await.unwrap();
    for piece in text.as_bytes().chunks(777) {
        soon(sending.write_all(piece)).await.unwrap();
    }
    soon(sending.finish()).await.unwrap();
    // One that is sent whole, in fragments by the setting.
    soon(server.send(&text[..])).await.unwrap();
    for _ in 0..2 {
        assert_eq!(soon(client.next()).await.unwrap().unwrap(), tungstenite::Message::text(text.clone()));
    }
    soon(client.send(tungstenite::Message::text(text.clone()))).await.unwrap();
    assert!(rest(&mut stream(&server).await).await.unwrap() == text.as_bytes());
    soon(client.send(tungstenite::Message::text(text.clone()))).await.unwrap();
    assert_eq!(next(&server).await, Ok(Message::Text(text)));
}

#[tokio::test]
async fn streams_pass_over_transports_of_the_caller() {
    let endpoint = endpoint(&[]);
    let (client, server) = tokio::io::duplex(1000);
    let adopt = |stream, role| {
        let mut established = Established::new(role);
        established.config.streams = true;
        endpoint.adopt(stream, established).unwrap()
    };
    let (client, server) = (adopt(client, Role::Client), adopt(server, Role::Server));
    let sent = async {
        let mut sending = client.send_stream(MessageKind::Binary).await.unwrap();
        sending.write_all(&[7; 300 * KIB]).await.unwrap();
        sending.finish().await.unwrap();
    };
    let received = async { rest(&mut stream(&server).await).await };
    let ((), received) = soon(async { tokio::join!(sent, received) }).await;
    assert!(received == Ok(vec![7; 300 * KIB]));
}

#[tokio::test]
async fn pings_are_answered_in_the_middle_of_a_message_that_is_sent() {
    let (connection, mut peer) = streaming(&[]).await;
    let mut stream = soon(connection.send_stream(MessageKind::Binary)).await.unwrap();
    assert_eq!(soon(stream.write(&vec![1; 200 * KIB])).await, Ok(64 * KIB));
    assert_eq!(peer.frame().await, (BINARY_BEGINS, vec![1; 64 * KIB]));
    peer.write(frame(PING, "p")).await;
    assert_eq!(peer.frame().await, (PONG, b"p".to_vec()));
    soon(connection.send(&Message::Ping("q".into()))).await.unwrap();
    assert_eq!(peer.frame().await, (PING, b"q".to_vec()));
    let mut waiting = Box::pin(connection.send("after"));
    assert!(waits(&mut waiting).await);
    soon(stream.write_all(&[2; 3])).await.unwrap();
    soon(stream.finish()).await.unwrap();
    soon(waiting).await.unwrap();
    assert_eq!(peer.frame().await, (GOES_ON, vec![2; 3]));
    assert_eq!(peer.frame().await, (ENDS, vec![]));
    assert_eq!(peer.frame().await, (TEXT, b"after".to_vec()));
}

#[tokio::test]
async fn pings_are_answered_in_the_middle_of_a_message_that_is_received() {
    let (connection, mut peer) = streaming(&[]).await;
    peer.write([frame(PING, "0"), frame(TEXT_BEGINS, "one")].concat()).await;
    assert_eq!(peer.frame().await, (PONG, b"0".to_vec()));
    let mut stream = stream(&connection).await;
    assert_eq!(soon(stream.next()).await, Ok(Some("one".into())));
    let mut waiting = Box::pin(stream.next());
    assert!(waits(&mut waiting).await);
    peer.write(frame(PING, "1")).await;
    assert_eq!(
        soon(async { tokio::select!(_ = &mut waiting => panic!(), frame = peer.frame() => frame) }).await.0,
        PONG
    );
    peer.write([frame(GOES_ON, ""), frame(ENDS, "two"), frame(TEXT, "next")].concat()).await;
    assert_eq!(soon(waiting).await, Ok(Some("two".into())));
    assert_eq!((soon(stream.next()).await, soon(stream.next()).await), (Ok(None), Ok(None)));
    assert_eq!(next(&connection).await, Ok(Message::Ping("1".into())));
    assert_eq!(next(&connection).await, Ok(Message::Text("next".into())));
}

#[tokio::test]
async fn a_stream_waits_for_its_peer_and_its_peer_for_it() {
    let (connection, mut peer) = streaming(&[("write-timeout", "200ms")]).await;
    // 64 MiB in one frame.
    let mut flood = Box::pin(async {
        peer.tcp.write_all(&frame(BINARY, vec![7; 64 << 20])).await.unwrap();
        peer
    });
    let mut stream = stream_while(&connection, &mut flood).await;
    let flooded = tokio::time::timeout(Duration::from_millis(300), &mut flood).await;
    assert!(flooded.is_err(), "64 MiB went to a guest that does not receive");
    let received = async {
        let mut count = 0;
        while let Some(piece) = soon(stream.next()).await.unwrap() {
            count += piece.len();
        }
        count
    };
    let (count, _peer) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(received, flood) }).await.unwrap();
    assert_eq!(count, 64 << 20);
    let mut stream = soon(connection.send_stream(MessageKind::Binary)).await.unwrap();
    let begun = Instant::now();
    let error = soon(stream.write_all(&vec![7; 64 << 20])).await.unwrap_err();
    assert_eq!(error, Error::Timeout);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

/// The next stream, while something else goes on.
async fn stream_while(connection: &Connection, other: impl Future + Unpin) -> ReceiveStream {
    soon(async { tokio::select!(stream = stream(connection) => stream, _ = other => panic!("it does not end")) }).await
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_stream_and_the_connection_with_1007() {
    let (connection, mut peer) = streaming(&[]).await;
    peer.write(frame(TEXT_BEGINS, "one")).await;
    let mut stream = stream(&connection).await;
    assert_eq!(soon(stream.next()).await, Ok(Some("one".into())));
    peer.write(frame(GOES_ON, [0xFF])).await;
    assert!(matches!(soon(stream.next()).await, Err(Error::Protocol(_))));
    assert_eq!(soon(stream.next()).await, Ok(None));
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1007, "")));
    assert_eq!(soon(connection.receive_stream()).await.map(|_| ()), Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn a_stream_that_is_cut_short_ends_with_an_error() {
    let (connection, mut peer) = streaming(&[]).await;
    peer.write([frame(BINARY_BEGINS, "one"), frame(CLOSE, close_payload(1000, ""))].concat()).await;
    let mut cut = stream(&connection).await;
    assert_eq!(soon(cut.next()).await, Ok(Some("one".into())));
    assert_eq!(soon(cut.next()).await, Err(Error::ConnectionClosed));
    assert!(matches!(next(&connection).await, Ok(Message::Close(_))));
    assert!(soon(connection.receive_stream()).await.unwrap().is_none());
    let (connection, mut peer) = streaming(&[]).await;
    peer.write(frame(BINARY_BEGINS, "one")).await;
    let mut cut = stream(&connection).await;
    peer.reset();
    assert_eq!(soon(cut.next()).await.map(|_| ()), Ok(()));
    assert!(matches!(soon(cut.next()).await, Err(Error::Io(_))));
    // A handle that outlives its connection waits for nothing.
    let (connection, mut peer) = streaming(&[]).await;
    peer.write(frame(BINARY_BEGINS, "")).await;
    let mut cut = stream(&connection).await;
    let mut waiting = Box::pin(cut.next());
    assert!(waits(&mut waiting).await);
    drop(connection);
    assert_eq!(soon(waiting).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn a_stream_that_is_dropped_discards_the_rest_of_its_message_and_nothing_else() {
    for taken in [false, true] {
        let (connection, mut peer) = streaming(&[("inbound-buffer", "1KiB")]).await;
        peer.write(frame(BINARY, [1; 10])).await;
        drop(stream(&connection).await);
        let flood = async {
            peer.tcp.write_all(&frame(BINARY, vec![2; 4 << 20])).await.unwrap();
            peer.tcp.write_all(&frame(TEXT, "next")).await.unwrap();
        };
        let received = async {
            let mut stream = stream(&connection).await;
            if taken {
                assert!(stream.next().await.unwrap().is_some());
            }
            drop(stream);
            assert_eq!(next(&connection).await, Ok(Message::Text("next".into())));
        };
        soon(async { tokio::join!(flood, received) }).await;
    }
}

#[tokio::test]
async fn a_message_that_is_given_up_ends_the_connection_unless_nothing_of_it_was_sent() {
    let (connection, mut peer) = streaming(&[]).await;
    drop(soon(connection.send_stream(MessageKind::Text)).await.unwrap());
    let mut invalid = soon(connection.send_stream(MessageKind::Text)).await.unwrap();
    assert!(matches!(soon(invalid.write(&[0xFF])).await, Err(Error::InvalidMessage(_))));
    let mut waiting = Box::pin(connection.send_stream(MessageKind::Text));
    assert!(waits(&mut waiting).await);
    drop(invalid);
    let mut stream = soon(waiting).await.unwrap();
    soon(stream.write_all(b"begun")).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT_BEGINS, b"begun".to_vec()));
    drop(stream);
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1011, "a message was cut short")));
    assert_eq!(connection.state(), Closing);
    assert_eq!(soon(connection.send("more")).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn frames_are_received_as_they_were_on_the_wire() {
    let (connection, mut peer) = streaming(&[]).await;
    let text = "grün".as_bytes();
    for part in [
        frame(TEXT_BEGINS, &text[..3]),
        frame(PING, "1"),
        frame(GOES_ON, ""),
        frame(ENDS, &text[3..]),
        frame(PONG, ""),
        frame(BINARY, vec![7; 300 * KIB]),
        frame(CLOSE, close_payload(1000, "bye")),
    ] {
        peer.write(part).await;
    }
    for expected in [
        frame_of(Opcode::Text, false, &text[..3]),
        frame_of(Opcode::Ping, true, "1"),
        frame_of(Opcode::Continuation, false, ""),
        frame_of(Opcode::Continuation, true, &text[3..]),
        frame_of(Opcode::Pong, true, ""),
        frame_of(Opcode::Binary, true, vec![7; 300 * KIB]),
        frame_of(Opcode::Close, true, close_payload(1000, "bye")),
    ] {
        assert_eq!(soon(connection.receive_frame()).await, Ok(Some(expected)));
    }
    for _ in 0..2 {
        assert_eq!(soon(connection.receive_frame()).await, Ok(None));
    }
    assert_eq!(peer.frame().await, (PONG, b"1".to_vec()));
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
}

#[tokio::test]
async fn frames_are_sent_as_they_are_where_the_rfc_allows_them() {
    let (connection, mut peer) = streaming(&[("max-frame-size", "1KiB")]).await;
    for (frame, first) in [
        (frame_of(Opcode::Binary, false, "a"), BINARY_BEGINS),
        (frame_of(Opcode::Ping, true, "b"), PING),
        (frame_of(Opcode::Continuation, false, ""), GOES_ON),
        (frame_of(Opcode::Continuation, true, [0; KIB]), ENDS),
        (frame_of(Opcode::Text, true, "d"), TEXT),
    ] {
        soon(connection.send_frame(&frame)).await.unwrap();
        assert_eq!(peer.frame().await, (first, frame.payload.to_vec()));
    }
    for invalid in [
        frame_of(Opcode::Continuation, true, ""),
        frame_of(Opcode::Text, true, [0xFF]),
        frame_of(Opcode::Ping, false, ""),
        frame_of(Opcode::Pong, true, [0; 126]),
        frame_of(Opcode::Close, true, [0]),
        frame_of(Opcode::Binary, true, [0; KIB + 1]),
    ] {
        assert!(matches!(soon(connection.send_frame(&invalid)).await, Err(Error::InvalidMessage(_))), "{invalid:?}");
    }
    soon(connection.send_frame(&frame_of(Opcode::Close, true, close_payload(3000, "done")))).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(3000, "done")));
    assert_eq!(soon(connection.send_frame(&frame_of(Opcode::Text, true, ""))).await, Err(Error::ConnectionClosed));
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_connection_with_1009() {
    // The limit of the host, and that of the guest, which is no higher.
    for (host, guest) in [("1KiB", None), ("1MiB", Some(KIB)), ("1KiB", Some(1 << 20))] {
        let endpoint = endpoint(&[("max-frame-size", host)]);
        let (connection, mut peer) = open_as(&endpoint, |config| config.max_frame_size = guest).await;
        peer.write([frame(BINARY_BEGINS, [1; KIB]), frame(ENDS, [2; KIB])].concat()).await;
        assert_eq!(next(&connection).await, Ok(Message::Binary([[1; KIB], [2; KIB]].concat().into())));
        // A larger message is sent in fragments.
        soon(connection.send(&Message::Binary(vec![3; KIB + 1].into()))).await.unwrap();
        assert_eq!(peer.frame().await, (BINARY_BEGINS, vec![3; KIB]));
        assert_eq!(peer.frame().await, (ENDS, vec![3]));
        peer.write(frame(BINARY, [0; KIB + 1])).await;
        assert_eq!(peer.frame().await, (CLOSE, close_payload(1009, "")));
        assert!(matches!(next(&connection).await, Err(Error::InvalidMessage(_))));
    }
}

#[tokio::test]
async fn the_limit_for_messages_concerns_streams_only_if_the_guest_sets_it() {
    let host = [("max-message-size", "1KiB")];
    let (connection, mut peer) = open_as(&endpoint(&host), |config| config.streams = true).await;
    peer.write(frame(BINARY, [1; 2 * KIB])).await;
    assert_eq!(rest(&mut stream(&connection).await).await, Ok(vec![1; 2 * KIB]));
    let mut sending = soon(connection.send_stream(MessageKind::Binary)).await.unwrap();
    soon(sending.write_all(&[1; 2 * KIB])).await.unwrap();
    soon(sending.finish()).await.unwrap();
    // Whole messages and frames have it in any case.
    peer.write(frame(BINARY, [1; 2 * KIB])).await;
    assert!(matches!(next(&connection).await, Err(Error::InvalidMessage(_))));
    let limited = |config: &mut websocket_connection::ConnectConfig| {
        (config.streams, config.max_message_size) = (true, Some(KIB));
    };
    let (connection, mut peer) = open_as(&endpoint(&host), limited).await;
    let mut sending = soon(connection.send_stream(MessageKind::Binary)).await.unwrap();
    assert!(matches!(soon(sending.write_all(&[1; 2 * KIB])).await, Err(Error::InvalidMessage(_))));
    peer.write(frame(BINARY, [1; 2 * KIB])).await;
    assert!(matches!(rest(&mut stream(&connection).await).await, Err(Error::InvalidMessage(_))));
}

#[tokio::test]
async fn messages_larger_than_the_setting_are_sent_in_fragments_with_pongs_between_them() {
    let (connection, mut peer) = open(&endpoint(&[("fragment-size", "32KiB")])).await;
    let large: Vec<u8> = (0..16 << 20).map(|number| (number / 1000) as u8).collect();
    soon(connection.send(&Message::Binary(large.clone().into()))).await.unwrap();
    peer.write(frame(PING, "p")).await;
    let (mut data, mut pong_at) = (Vec::new(), None);
    loop {
        let (first, payload) = peer.frame().await;
        if first == PONG {
            pong_at = Some(data.len());
            continue;
        }
        assert_eq!(first & 0x0F, if data.is_empty() { BINARY_BEGINS } else { GOES_ON });
        assert!(payload.len() <= 32 * KIB);
        data.extend(payload);
        if first & ENDS != 0 {
            break;
        }
    }
    assert!(data == large);
    assert!(pong_at.is_some_and(|at| at < large.len()), "{pong_at:?}");
}

/// Polls a call a few times at most, then drops it.
async fn cancelled_after<F: Future>(polls: u32, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Numbered messages of many sizes.
fn numbered(number: u32, random: &mut StdRng) -> Vec<u8> {
    let size = if random.random_bool(0.1) { random.random_range(0..300_000) } else { random.random_range(0..2000) };
    [&number.to_be_bytes()[..], &vec![number as u8; size]].concat()
}

async fn send_all(connection: &Connection, messages: &[Vec<u8>], random: &mut StdRng) {
    for message in messages {
        match random.random_range(0..3) {
            0 => {
                while cancelled_after(random.random_range(0..3), connection.send(&message[..])).await.is_none() {
                    tokio::task::yield_now().await;
                }
            }
            1 => {
                let mut stream = connection.send_stream(MessageKind::Binary).await.unwrap();
                let mut rest = &message[..];
                while !rest.is_empty() {
                    let piece = &rest[..rest.len().min(random.random_range(1..100_000))];
                    match cancelled_after(random.random_range(0..3), stream.write(piece)).await {
                        Some(count) => rest = &rest[count.unwrap()..],
                        None => tokio::task::yield_now().await,
                    }
                }
                stream.finish().await.unwrap();
            }
            _ => {
                let (begins, ends) = message.split_at(random.random_range(0..message.len()));
                for frame in [frame_of(Opcode::Binary, false, begins), frame_of(Opcode::Continuation, true, ends)] {
                    while cancelled_after(random.random_range(0..3), connection.send_frame(&frame)).await.is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}

async fn receive_all(connection: &Connection, count: usize, random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    // What was received of a message frame by frame.
    let mut begun: Option<Vec<u8>> = None;
    while messages.len() < count {
        let way = if begun.is_some() { 2 } else { random.random_range(0..3) };
        let polls = random.random_range(0..4);
        match way {
            0 => match cancelled_after(polls, connection.receive()).await {
                Some(Ok(Some(Message::Binary(data)))) => messages.push(data.to_vec()),
                Some(Ok(None)) | None => {}
                other => panic!("{other:?}"),
            },
            1 => {
                let Some(stream) = cancelled_after(polls, connection.receive_stream()).await else { continue };
                let (mut stream, mut data) = (stream.unwrap().unwrap(), Vec::new());
                loop {
                    match cancelled_after(random.random_range(0..4), stream.next()).await {
                        Some(Ok(Some(piece))) => data.extend_from_slice(&piece),
                        Some(Ok(None)) => break,
                        Some(Err(error)) => panic!("{error}"),
                        None => {}
                    }
                }
                messages.push(data);
            }
            _ => {
                let Some(frame) = cancelled_after(polls, connection.receive_frame()).await else { continue };
                let frame = frame.unwrap().unwrap();
                let mut data = begun.take().unwrap_or_default();
                data.extend_from_slice(&frame.payload);
                if frame.is_final {
                    messages.push(data);
                } else {
                    begun = Some(data);
                }
            }
        }
    }
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cancelled_lose_nothing_and_repeat_nothing() {
    const COUNT: u32 = 1000;
    for (seed, inbound_buffer) in [(1, "1KiB"), (2, "64KiB"), (3, "1MiB")] {
        let endpoint = endpoint(&[("inbound-buffer", inbound_buffer)]);
        let (client, server) = both_ends(&endpoint).await;
        let mut random = StdRng::seed_from_u64(seed);
        let messages: Vec<_> = (0..COUNT).map(|number| numbered(number, &mut random)).collect();
        let run = |from: Connection, to: Connection, messages: Vec<Vec<u8>>| {
            let received = tokio::spawn(async move {
                let received = receive_all(&to, COUNT as usize, &mut StdRng::seed_from_u64(seed + 10)).await;
                (to, received)
            });
            async move {
                send_all(&from, &messages, &mut StdRng::seed_from_u64(seed + 20)).await;
                let (to, received) = received.await.unwrap();
                assert!(received == messages, "messages were lost or repeated");
                (from, to)
            }
        };
        let (client, server) = soon(run(client, server, messages.clone())).await;
        soon(run(server, client, messages)).await;
    }
}
