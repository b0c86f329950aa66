//! What `send` promises.

use crate::{open, open_as, open_in};
use std::time::{Duration, Instant};
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_payload, frame};
use tests::{
    Behaviour, Server, kernel,
    probe::{Ask, Config, Failure, Message, Probe, State},
};
use tokio::time::timeout;

const MIB: usize = 1 << 20;

/// A binary message of one mebibyte that is not like its neighbours.
fn mebibyte(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(MIB / 4)
}

fn text(text: impl ToString) -> Message {
    Message::Text(text.to_string())
}

#[tokio::test]
async fn send_order() {
    let (mut guest, open, mut peer) = open(&[]).await;
    let messages = (0..300).map(text).chain([Message::Ping(b"p".into()), Message::Pong(b"q".into())]);
    // The guest computes for longer than this test may take, so no further call can cause the write.
    guest.ask(&Ask::Burst(open, messages.collect(), 3_600_000)).await;
    for number in 0..300 {
        assert_eq!(peer.frame().await, (TEXT, number.to_string().into()));
    }
    assert_eq!(peer.frame().await, (PING, b"p".into()));
    assert_eq!(peer.frame().await, (PONG, b"q".into()));
}

#[tokio::test]
async fn send_backpressure() {
    let options = ["--write-timeout", "1h", "--keepalive", "false"];
    let (mut guest, full, mut peer) = open(&options).await;
    let (_, mut other) = open_in(&mut guest, Config::default()).await;
    let mut accepted = 0;
    loop {
        guest.ask(&Ask::Send(full, Message::Binary(vec![1; 10_000]))).await;
        // The only sign that a send waits is that it does not return.
        match timeout(Duration::from_millis(500), guest.outcome()).await {
            Ok(outcome) => outcome.unwrap(),
            Err(_) => break,
        }
        accepted += 1;
    }
    // Accepted bytes are in the kernel's buffers, except for a bounded remainder.
    let ends = [peer.tcp.local_addr().unwrap(), peer.tcp.peer_addr().unwrap()];
    let sockets = kernel::sockets();
    let with_kernel = |socket: &&kernel::Socket| ends.contains(&socket.local) && ends.contains(&socket.remote);
    let queued: usize = sockets.iter().filter(with_kernel).map(|socket| socket.unsent + socket.unread).sum();
    let held = (accepted * 10_008_usize).saturating_sub(queued);
    assert!(queued > 0 && held <= 64 * 1024 + 10_008, "{held} bytes wait in the host, {queued} in the kernel");
    // Other connections go on.
    for payload in ["1", "2"] {
        other.write(frame(PING, payload)).await;
        assert_eq!(other.frame().await, (PONG, payload.into()));
    }
    for _ in 0..=accepted {
        assert_eq!(peer.frame().await, (BINARY, vec![1; 10_000]));
    }
    guest.outcome().await.unwrap();
}

#[tokio::test]
async fn send_timeout() {
    let (mut guest, open, mut peer) = open(&["--write-timeout", "300ms"]).await;
    let mut sent = 0;
    let begun = loop {
        let begun = Instant::now();
        match guest.send(open, Message::Binary(mebibyte(sent))).await {
            Ok(()) => sent += 1,
            Err(failure) => {
                assert_eq!(failure, Failure::Timeout);
                break begun;
            }
        }
    };
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(guest.state(open).await, State::Open);
    for number in 0..sent {
        assert!(peer.frame().await == (BINARY, mebibyte(number)), "message {number} of {sent}");
    }
    guest.send(open, text("after")).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"after".to_vec()));
    peer.write(frame(TEXT, "still there")).await;
    assert_eq!(guest.receive(open).await, Ok(text("still there")));
}

/// A text of one mebibyte that is not like its neighbours.
fn long_text(number: u32) -> Message {
    text(format!("{number:04}").repeat(MIB / 4))
}

/// Receives the texts of these numbers, in order.
async fn receive_texts(guest: &mut Probe, from: u32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert!(guest.receive(from).await == Ok(long_text(number)), "text {number} is due");
    }
}

#[tokio::test]
async fn send_unanswered() {
    let server = Server::start(Behaviour::Echo).await;
    let connect = async |options: &[&str]| {
        let mut guest = Probe::start(options);
        let open = guest.connect(Config { url: server.url.clone(), ..Config::default() }).await.unwrap();
        (guest, open)
    };
    // The inbound buffer has capacity for all answers.
    let (mut guest, open) = connect(&["--inbound-buffer", "128MiB"]).await;
    for number in 0..64 {
        guest.send(open, long_text(number)).await.unwrap();
    }
    receive_texts(&mut guest, open, 0..64).await;
    // It does not, and the guest receives once a send times out.
    let (mut guest, open) = connect(&["--write-timeout", "50ms"]).await;
    let (mut received, mut timeouts) = (0, 0);
    for number in 0..64 {
        while let Err(failure) = guest.send(open, long_text(number)).await {
            assert_eq!(failure, Failure::Timeout);
            timeouts += 1;
            receive_texts(&mut guest, open, received..received + 1).await;
            received += 1;
        }
    }
    assert!(timeouts > 0);
    receive_texts(&mut guest, open, received..64).await;
}

/// Asserts that each of these messages is rejected, and that nothing of it is sent.
async fn refused(wishes: Config, messages: Vec<Message>) {
    let (mut guest, open, mut peer) = open_as(&[], wishes).await;
    for message in messages {
        let sent = guest.send(open, message).await;
        assert!(matches!(sent, Err(Failure::InvalidMessage(_))), "{sent:?}");
    }
    assert_eq!(guest.state(open).await, State::Open);
    guest.send(open, text("first")).await.unwrap();
    assert_eq!(peer.frame().await, (TEXT, b"first".to_vec()));
}

#[tokio::test]
async fn send_size() {
    let wishes = Config { max_message_size: Some(100), ..Config::default() };
    refused(wishes, vec![Message::Binary(vec![0; 101]), text("x".repeat(101)), text("é".repeat(51))]).await;
}

#[tokio::test]
async fn send_control() {
    refused(Config::default(), vec![Message::Ping(vec![0; 126]), Message::Pong(vec![0; 126])]).await;
    let (mut guest, open, mut peer) = open(&[]).await;
    guest.send(open, Message::Ping(vec![1; 125])).await.unwrap();
    assert_eq!(peer.frame().await, (PING, vec![1; 125]));
}

#[tokio::test]
async fn send_close() {
    for (code, reason) in [(1000, None), (4000, Some("enough"))] {
        let (mut guest, open, mut peer) = open(&[]).await;
        guest.send(open, Message::Close(code, reason.map(str::to_owned))).await.unwrap();
        assert_eq!(guest.state(open).await, State::Closing);
        assert_eq!(peer.frame().await, (CLOSE, close_payload(code, reason.unwrap_or_default())));
        peer.write(frame(CLOSE, close_payload(code, ""))).await;
        assert_eq!(guest.receive(open).await, Ok(Message::Close(code, None)));
    }
    refused(Config::default(), vec![Message::Close(1005, None), Message::Close(1000, Some("r".repeat(124)))]).await;
}

#[tokio::test]
async fn send_failed() {
    let (mut guest, open, mut peer) = open(&["--inbound-buffer", "1KiB"]).await;
    // More than the inbound buffer holds, so the host has not yet read the end when it sends.
    let messages = (0..20).map(|number| vec![number; 1000]);
    peer.write(messages.clone().flat_map(|data| frame(BINARY, data)).collect::<Vec<_>>()).await;
    drop(peer);
    let failure = loop {
        if let Err(failure) = guest.send(open, text("anyone?")).await {
            break failure;
        }
    };
    assert!(matches!(failure, Failure::IoError(_)), "{failure:?}");
    assert_eq!(guest.state(open).await, State::Closing);
    assert_eq!(guest.send(open, text("anyone?")).await, Err(Failure::ConnectionClosed));
    for data in messages {
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(data)));
    }
    assert!(matches!(guest.receive(open).await, Err(Failure::IoError(_))));
    guest.is_over(open).await;
    assert_eq!(guest.state(open).await, State::Closed);
    assert_eq!(guest.send(open, text("anyone?")).await, Err(Failure::ConnectionClosed));
}

#[tokio::test]
async fn send_after_close() {
    let (mut guest, ours, mut peer) = open(&[]).await;
    guest.close(ours, None, None).await.unwrap();
    let (theirs, mut other) = open_in(&mut guest, Config::default()).await;
    other.write(frame(CLOSE, close_payload(1000, ""))).await;
    assert_eq!(other.frame().await.0, CLOSE);
    for on in [ours, theirs] {
        for message in [text("late"), Message::Binary(vec![]), Message::Ping(vec![])] {
            assert_eq!(guest.send(on, message).await, Err(Failure::ConnectionClosed));
        }
    }
    assert_eq!(peer.frame().await, (CLOSE, vec![]));
    drop(other);
    let nothing_more = async |peer: &mut Peer| peer.end().await;
    peer.write(frame(CLOSE, [])).await;
    tokio::io::AsyncWriteExt::shutdown(&mut peer.tcp).await.unwrap();
    nothing_more(&mut peer).await;
}
