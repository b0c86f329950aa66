//! Messages both ways: sizes, fragments, order, pings, limits, and what happens when one side is slow.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use websocket_connection::{Error, Message, MessageRef};

const MIB: usize = 1024 * 1024;

/// A binary message of one mebibyte that is not like its neighbours.
fn mebibyte(number: usize) -> Message {
    let mut data = vec![number as u8; MIB];
    data[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Message::Binary(data.into())
}

fn number_of(data: &[u8]) -> usize {
    u64::from_be_bytes(data[..8].try_into().unwrap()) as usize
}

#[tokio::test]
async fn messages_of_every_size_come_back_whole() {
    let connection = soon(endpoint(&[]).connect(to(echo_server().await))).await.unwrap();
    for size in [0, 1, 125, 126, 65535, 65536, MIB, 16 * MIB] {
        let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let text: String = data.iter().map(|byte| char::from(byte % 95 + 32)).collect();
        for message in [Message::Binary(data.into()), Message::Text(text)] {
            soon(connection.send(&message)).await.unwrap();
            assert!(next(&connection).await == Ok(message), "{size} bytes");
        }
    }
}

#[tokio::test]
async fn a_message_in_fragments_arrives_whole_after_the_pings_between_them() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let text = "grün".as_bytes();
    for part in [frame(0x01, &text[..3]), frame(PING, "1"), frame(0x00, ""), frame(PING, "2"), frame(0x80, &text[3..])]
    {
        peer.write(part).await;
    }
    assert_eq!(next(&connection).await, Ok(Message::Ping("1".into())));
    assert_eq!(next(&connection).await, Ok(Message::Ping("2".into())));
    assert_eq!(next(&connection).await, Ok(Message::Text("grün".into())));
    assert_eq!(peer.frame().await, (PONG, b"1".to_vec()));
    assert_eq!(peer.frame().await, (PONG, b"2".to_vec()));
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_a_message() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    for byte in frame(BINARY, [7; 200]) {
        peer.write([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&connection).await, Ok(Message::Binary(vec![7; 200].into())));
}

#[tokio::test]
async fn a_message_right_behind_the_handshake_is_received() {
    let (listener, url) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        let answer = [peer.upgrade_head("").into_bytes(), frame(TEXT, "early"), frame(PING, "")].concat();
        peer.write(answer).await;
        peer
    };
    let endpoint = endpoint(&[]);
    let (connection, mut peer) = tokio::join!(endpoint.connect(to(url)), peer);
    assert_eq!(peer.frame().await, (PONG, vec![]));
    let connection = connection.unwrap();
    assert_eq!(next(&connection).await, Ok(Message::Text("early".into())));
}

#[tokio::test]
async fn pings_are_answered_while_nobody_receives_and_handed_over_later() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write(frame(PING, "are you there")).await;
    assert_eq!(peer.frame().await, (PONG, b"are you there".to_vec()));
    assert_eq!(next(&connection).await, Ok(Message::Ping("are you there".into())));
}

#[tokio::test]
async fn pings_of_a_peer_that_reads_no_answers_cost_bounded_memory_and_the_last_one_is_answered() {
    // The answers are more than all buffers on their way hold.
    const COUNT: u32 = 100_000;
    let ping = |number: u32| number.to_be_bytes().repeat(30);
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let sent = async {
        for number in 0..COUNT {
            peer.write(frame(PING, ping(number))).await;
        }
    };
    // In order, though a guest that is slower than its peer does not get all of them.
    let received = async {
        let (mut last, end) = (None, Message::Ping(ping(COUNT - 1).into()));
        loop {
            match next(&connection).await {
                Ok(message) if message == end => break,
                Ok(Message::Ping(data)) => {
                    let number = u32::from_be_bytes(data[..4].try_into().unwrap());
                    assert!(data == ping(number) && last < Some(number), "{last:?} {number}");
                    last = Some(number);
                }
                other => panic!("{other:?}"),
            }
        }
    };
    soon(async { tokio::join!(sent, received) }).await;
    let mut answers = 1;
    while peer.frame().await != (PONG, ping(COUNT - 1)) {
        answers += 1;
    }
    assert!(answers < COUNT, "every answer was kept");
}

#[tokio::test]
async fn pings_are_answered_without_end_while_the_guest_only_sends() {
    const COUNT: u32 = 3000;
    let (connection, mut peer) = open(&endpoint(&[("inbound-buffer", "1KiB")])).await;
    let mut sent = 0;
    for number in 0..COUNT {
        peer.write([frame(PING, number.to_be_bytes()), frame(PONG, [])].concat()).await;
        sent += u32::from(connection.try_send(MessageRef::Text("!")).unwrap());
        loop {
            match peer.frame().await {
                (TEXT, _) => sent -= 1,
                other => break assert_eq!(other, (PONG, number.to_be_bytes().into())),
            }
        }
    }
    while sent > 0 {
        assert_eq!(peer.frame().await.0, TEXT);
        sent -= 1;
    }
    let mut pings = Vec::new();
    while let Some(message) = connection.try_receive() {
        pings.extend(Some(message).filter(|message| matches!(message, Message::Ping(_))));
    }
    let newest = COUNT - 16..COUNT;
    assert_eq!(pings, newest.map(|number| Message::Ping(number.to_be_bytes().to_vec().into())).collect::<Vec<_>>());
}

#[tokio::test]
async fn pings_are_answered_while_a_call_waits_that_nobody_polls() {
    // The socket of a busy connection wakes its callers alone.
    for received_before in [0, 20] {
        let (connection, mut peer) = open(&endpoint(&[])).await;
        for number in 0..received_before {
            let mut received = Box::pin(connection.receive());
            assert!(waits(&mut received).await);
            peer.write(frame(TEXT, number.to_string())).await;
            assert_eq!(soon(received).await, Ok(Some(Message::Text(number.to_string()))));
        }
        let mut received = Box::pin(connection.receive());
        assert!(waits(&mut received).await);
        for payload in ["1", "2", "3"] {
            peer.write(frame(PING, payload)).await;
            assert_eq!(peer.frame().await, (PONG, payload.into()));
        }
        assert_eq!(soon(received).await, Ok(Some(Message::Ping("1".into()))));
    }
}

#[tokio::test]
async fn messages_sent_back_to_back_leave_though_their_sender_never_waits() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let guest = tokio::spawn(async move {
        for number in 0..300 {
            connection.send(&number.to_string()).await.unwrap();
        }
        // A guest that computes gives way at the end of each time slice.
        loop {
            tokio::task::yield_now().await;
        }
    });
    for number in 0..300 {
        assert_eq!(peer.frame().await, (TEXT, number.to_string().into()));
    }
    guest.abort();
}

#[tokio::test]
async fn a_peer_has_the_first_of_many_messages_while_their_sender_still_makes_the_last() {
    let (connection, peer) = open(&endpoint(&[])).await;
    let (tcp, mut arrived) = (peer.tcp.into_std().unwrap(), [0; 1024]);
    // Nothing awaits, and so nothing else of this thread can have them leave.
    for count in 1..=64 {
        assert_eq!(connection.try_send(MessageRef::Text("!")), Ok(true));
        const FRAME: usize = 7;
        let left = tcp.peek(&mut arrived).map_or(0, |waiting| waiting / FRAME);
        assert!(count - left < left.max(16), "of {count} only {left} have left");
    }
}

#[tokio::test]
async fn receive_waits_as_long_as_the_host_says_and_then_has_nothing() {
    for (setting, wait) in [("60ms", Duration::from_millis(60)), ("0s", Duration::ZERO)] {
        let (connection, mut peer) = open(&endpoint(&[("receive-wait", setting)])).await;
        let begun = Instant::now();
        assert_eq!(soon(connection.receive()).await, Ok(None));
        assert!(begun.elapsed() >= wait);
        peer.write(frame(TEXT, "late")).await;
        assert_eq!(next(&connection).await, Ok(Message::Text("late".into())));
    }
}

#[tokio::test]
async fn a_receive_that_is_given_up_takes_nothing() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    for number in ["1", "2"] {
        let mut received = Box::pin(connection.receive());
        assert!(waits(&mut received).await);
        peer.write([frame(PING, ""), frame(TEXT, number)].concat()).await;
        drop(received);
        assert_eq!(peer.frame().await.0, PONG);
        assert_eq!(next(&connection).await, Ok(Message::Ping("".into())));
        assert_eq!(next(&connection).await, Ok(Message::Text(number.into())));
    }
}

#[tokio::test]
async fn nothing_leaves_of_a_message_that_may_not_be_sent() {
    let (connection, mut peer) = open_as(&endpoint(&[]), |config| config.max_message_size = Some(200)).await;
    for message in [
        Message::Binary(vec![0; 201].into()),
        Message::Text("é".repeat(101)),
        Message::Ping(vec![0; 126].into()),
        Message::Pong(vec![0; 126].into()),
    ] {
        assert!(matches!(soon(connection.send(&message)).await, Err(Error::InvalidMessage(_))));
    }
    soon(connection.send(&Message::Binary(vec![1; 200].into()))).await.unwrap();
    assert_eq!(peer.frame().await, (BINARY, vec![1; 200]));
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_with_1009_after_what_came_before() {
    for too_much in [frame(BINARY, [0; 201]), [frame(0x02, [0; 150]), frame(0x80, [0; 51])].concat()] {
        let (connection, mut peer) = open_as(&endpoint(&[]), |config| config.max_message_size = Some(200)).await;
        peer.write([frame(BINARY, [1; 200]), too_much].concat()).await;
        assert_eq!(peer.frame().await, (CLOSE, 1009u16.to_be_bytes().into()));
        peer.end().await;
        assert_eq!(next(&connection).await, Ok(Message::Binary(vec![1; 200].into())));
        assert!(matches!(next(&connection).await, Err(Error::InvalidMessage(_))));
        next_is_closed(&connection).await;
    }
}

#[tokio::test]
async fn a_send_to_a_peer_that_does_not_read_times_out_and_sends_nothing_of_its_message() {
    let (connection, mut peer) = open(&endpoint(&[("write-timeout", "200ms")])).await;
    let mut sent = 0;
    let begun = loop {
        let begun = Instant::now();
        match soon(connection.send(&mebibyte(sent))).await {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error, Error::Timeout);
                break begun;
            }
        }
    };
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(sent > 0 && sent < 64, "{sent} MiB wait for a peer that does not read");
    // A send that is given up has sent nothing either.
    let last = mebibyte(1000);
    let mut given_up = Box::pin(connection.send(&last));
    assert!(waits(&mut given_up).await);
    drop(given_up);
    for number in 0..sent {
        let (first, data) = peer.frame().await;
        assert_eq!((first, number_of(&data), data.len()), (BINARY, number, MIB));
    }
    soon(connection.send("after")).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"after".to_vec()));
}

#[tokio::test]
async fn a_guest_that_sends_much_before_it_receives_neither_hangs_nor_loses_anything() {
    let endpoint = endpoint(&[("write-timeout", "300ms")]);
    let connection = soon(endpoint.connect(to(echo_server().await))).await.unwrap();
    let mut sent = Vec::new();
    for number in 0..64 {
        match soon(connection.send(&mebibyte(number))).await {
            Ok(()) => sent.push(number),
            // The echoes fill every buffer on the way back, so the server has stopped reading.
            Err(error) => {
                assert_eq!(error, Error::Timeout);
                break;
            }
        }
    }
    for number in sent {
        assert!(next(&connection).await == Ok(mebibyte(number)), "message {number}");
    }
    soon(connection.send("more")).await.unwrap();
    assert_eq!(next(&connection).await, Ok(Message::Text("more".into())));
}

#[tokio::test]
async fn a_peer_that_floods_is_slowed_down_until_the_guest_receives_and_nothing_is_lost() {
    const COUNT: usize = 64;
    let (connection, mut peer) = open(&endpoint(&[("inbound-buffer", "64KiB")])).await;
    let mut flood = Box::pin(async {
        for number in 0..COUNT {
            let Message::Binary(data) = mebibyte(number) else { panic!() };
            peer.tcp.write_all(&frame(BINARY, data)).await.unwrap();
        }
    });
    let all = tokio::time::timeout(Duration::from_millis(500), &mut flood).await;
    assert!(all.is_err(), "{COUNT} MiB went to a guest that does not receive");
    let received = async {
        for number in 0..COUNT {
            assert!(next(&connection).await == Ok(mebibyte(number)), "message {number}");
        }
    };
    soon(async { tokio::join!(flood, received) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_share_a_connection_keep_their_order_and_lose_nothing() {
    const EACH: usize = 200;
    let connection = soon(endpoint(&[]).connect(to(echo_server().await))).await.unwrap();
    let connection = std::sync::Arc::new(connection);
    let senders = (0..4).map(|sender| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                soon(connection.send(&format!("{sender} {number}"))).await.unwrap();
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let mut received = Vec::new();
                while received.last().is_none_or(|last| last != "end") {
                    match next(&connection).await {
                        Ok(Message::Text(text)) => received.push(text),
                        other => panic!("{other:?}"),
                    }
                }
                received
            })
        })
        .collect();
    for sender in senders {
        soon(sender).await.unwrap();
    }
    for _ in 0..2 {
        soon(connection.send("end")).await.unwrap();
    }
    let mut count = 0;
    for receiver in receivers {
        let received = soon(receiver).await.unwrap();
        for sender in 0..4 {
            let numbers: Vec<usize> =
                received.iter().filter_map(|text| text.strip_prefix(&format!("{sender} "))?.parse().ok()).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
            count += numbers.len();
        }
    }
    assert_eq!(count, 4 * EACH);
}

#[test]
fn what_was_sent_leaves_while_its_sender_computes() {
    let (says, url) = std::sync::mpsc::channel();
    let (hears, heard) = std::sync::mpsc::channel();
    let peer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (listener, url) = listen().await;
            says.send(url).unwrap();
            let mut peer = Peer::accept(&listener).await;
            peer.upgrade("").await;
            for _ in 0..3 {
                hears.send(peer.frame().await).unwrap();
            }
        });
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = soon(endpoint(&[]).connect(to(url.recv().unwrap()))).await.unwrap();
        for text in ["1", "2", "3"] {
            connection.send(text).await.unwrap();
        }
        // Holds the runtime's only thread, as a guest that computes does.
        for text in ["1", "2", "3"] {
            assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap().1, text.as_bytes());
        }
    });
    peer.join().unwrap();
}

#[tokio::test]
async fn what_was_read_ahead_can_be_taken_and_answered_before_the_peer_is_told_of_a_broken_rule() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    peer.write([frame(TEXT, "question"), vec![0xFF, 0]].concat()).await;
    let taken = soon(async {
        loop {
            if let Some(message) = connection.try_receive() {
                return message;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(taken.await, Message::Text("question".into()));
    assert_eq!(connection.try_receive(), None);
    assert_eq!(connection.try_send(MessageRef::Text("answer")), Ok(true));
    assert!(matches!(next(&connection).await, Err(Error::Protocol(_))));
    assert_eq!(peer.frame().await, (TEXT, b"answer".to_vec()));
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1002, "")));
}

#[tokio::test]
async fn text_bytes_and_references_to_messages_are_sent_as_they_are() {
    let (connection, mut peer) = open(&endpoint(&[])).await;
    let (owned, bytes) = ("owned".to_owned(), vec![1, 2]);
    soon(connection.send("text")).await.unwrap();
    soon(connection.send(&owned)).await.unwrap();
    soon(connection.send(b"bytes")).await.unwrap();
    soon(connection.send(&bytes[..])).await.unwrap();
    soon(connection.send(MessageRef::Ping(b"ping"))).await.unwrap();
    assert_eq!(connection.try_send(&Message::Pong("pong".into())), Ok(true));
    for (opcode, payload) in [
        (TEXT, b"text".to_vec()),
        (TEXT, b"owned".to_vec()),
        (BINARY, b"bytes".to_vec()),
        (BINARY, bytes),
        (PING, b"ping".to_vec()),
        (PONG, b"pong".to_vec()),
    ] {
        assert_eq!(peer.frame().await, (opcode, payload));
    }
}
