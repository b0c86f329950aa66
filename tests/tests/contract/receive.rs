//! What `receive` promises.

use crate::{open, open_as};
use std::time::{Duration, Instant};
use test_peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_payload, frame, soon};
use tests::{
    kernel,
    probe::{Ask, Config, Failure, Message, Probe, State},
};
use tokio::{io::AsyncWriteExt, time::sleep};

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

#[tokio::test]
async fn receive_order() {
    let (mut guest, open, mut peer) = open(&[]).await;
    let umlaut = "grün".as_bytes();
    let wire = [
        frame(TEXT, "1"),
        frame(BINARY, [2]),
        frame(0x01, &umlaut[..3]),
        frame(PING, "between"),
        frame(0x00, ""),
        frame(0x80, &umlaut[3..]),
        frame(BINARY, []),
        frame(BINARY, [7; 70_000]),
    ];
    peer.write(wire.concat()).await;
    for byte in frame(TEXT, "byte by byte") {
        peer.write([byte]).await;
    }
    for message in [
        text("1"),
        Message::Binary(vec![2]),
        Message::Ping(b"between".into()),
        text("grün"),
        Message::Binary(vec![]),
        Message::Binary(vec![7; 70_000]),
        text("byte by byte"),
    ] {
        assert_eq!(guest.receive(open).await, Ok(message));
    }
    peer.write(frame(CLOSE, [])).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Close(1005, None)));
}

#[tokio::test]
async fn receive_wait() {
    for (wait, millis) in [("500ms", 500), ("0s", 0)] {
        let (mut guest, open, mut peer) = open(&["--receive-wait", wait]).await;
        let begun = Instant::now();
        assert_eq!(guest.receive_once(open).await, Ok(None));
        assert!(begun.elapsed() >= Duration::from_millis(millis));
        peer.write(frame(TEXT, "late")).await;
        assert_eq!(guest.receive(open).await, Ok(text("late")));
    }
    let (mut guest, open, mut peer) = open(&["--receive-wait", "1h", "--keepalive", "false"]).await;
    guest.ask(&Ask::Receive(open)).await;
    // Waiting is measured once it has begun.
    sleep(Duration::from_millis(500)).await;
    let before = kernel::processor_millis(guest.process());
    sleep(Duration::from_secs(2)).await;
    let used = kernel::processor_millis(guest.process()) - before;
    assert!(used <= 60, "two seconds of waiting used {used} ms of processor time");
    peer.write(frame(TEXT, "at last")).await;
    assert_eq!(guest.received().await, Ok(Some(text("at last"))));
}

#[tokio::test]
async fn receive_ping() {
    let (mut guest, open, mut peer) = open(&[]).await;
    // While the guest waits for something else, while it computes, and while it receives.
    peer.write(frame(PING, "idle")).await;
    assert_eq!(peer.frame().await, (PONG, b"idle".to_vec()));
    guest.ask(&Ask::Burst(open, vec![], 1000)).await;
    peer.write(frame(PING, "busy")).await;
    assert_eq!(peer.frame().await, (PONG, b"busy".to_vec()));
    guest.outcome().await.unwrap();
    for payload in ["idle", "busy"] {
        assert_eq!(guest.receive(open).await, Ok(Message::Ping(payload.into())));
    }
    guest.ask(&Ask::Receive(open)).await;
    peer.write(frame(PING, [9; 125])).await;
    assert_eq!(peer.frame().await, (PONG, vec![9; 125]));
    // The receive wait may have expired first.
    if guest.received().await.unwrap().is_none() {
        assert_eq!(guest.receive(open).await, Ok(Message::Ping(vec![9; 125])));
    }
}

/// Receives until there is no message.
async fn drain(guest: &mut Probe, open: u32) -> Vec<Message> {
    let mut received = Vec::new();
    while let Some(message) = guest.receive_once(open).await.unwrap() {
        received.push(message);
    }
    received
}

#[tokio::test]
async fn receive_control() {
    const COUNT: u32 = 3000;
    let (mut guest, open, mut peer) = open(&["--inbound-buffer", "64KiB", "--receive-wait", "200ms"]).await;
    peer.write([frame(TEXT, "first"), frame(PONG, "unasked")].concat()).await;
    // Ping by ping, as a peer that waits for each pong; meanwhile the guest only sends.
    for number in 0..COUNT {
        if number % 100 == 0 {
            guest.send(open, text("still here")).await.unwrap();
            assert_eq!(peer.frame().await, (TEXT, b"still here".into()));
        }
        peer.write(frame(PING, number.to_be_bytes())).await;
        assert_eq!(peer.frame().await, (PONG, number.to_be_bytes().into()));
    }
    // Without payload, and many at once: one pong may answer several of them.
    peer.write(frame(PING, "").repeat(5000)).await;
    peer.write([frame(TEXT, "second"), frame(PING, "last")].concat()).await;
    while peer.frame().await != (PONG, b"last".into()) {}
    assert_eq!(guest.state(open).await, State::Open);
    let mut expected = vec![text("first"), Message::Pong(b"unasked".into())];
    expected.extend(vec![Message::Ping(vec![]); 15]);
    expected.extend([text("second"), Message::Ping(b"last".into())]);
    assert_eq!(drain(&mut guest, open).await, expected);
    // The same holds for pongs.
    peer.write([frame(PONG, "").repeat(5000), frame(PING, "pongs came before")].concat()).await;
    assert_eq!(peer.frame().await, (PONG, b"pongs came before".into()));
    let mut expected = vec![Message::Pong(vec![]); 16];
    expected.push(Message::Ping(b"pongs came before".into()));
    assert_eq!(drain(&mut guest, open).await, expected);
}

#[tokio::test]
async fn receive_full() {
    let options = ["--inbound-buffer", "1KiB", "--close-timeout", "1h", "--receive-wait", "200ms"];
    let mut guest = Probe::start(&options);
    let full = Message::Binary(vec![1; 2000]);
    let filled = async |guest: &mut Probe| {
        let (open, mut peer) = crate::open_in(guest, Config::default()).await;
        peer.write([frame(BINARY, [1; 2000]), frame(PING, "1")].concat()).await;
        assert_eq!(peer.frame().await, (PONG, b"1".into()));
        (open, peer)
    };
    // A ping, and a ping behind data that does not fit.
    let (open, mut peer) = filled(&mut guest).await;
    peer.write([frame(PING, "2"), frame(BINARY, [2]), frame(PING, "3")].concat()).await;
    assert_eq!(peer.frame().await, (PONG, b"2".into()));
    assert!(tokio::time::timeout(Duration::from_millis(300), peer.frame()).await.is_err(), "the host stops reading");
    let pings = ["1", "2"].map(|payload| Message::Ping(payload.into()));
    let expected: Vec<_> = [full.clone()].into_iter().chain(pings).collect();
    assert_eq!(drain(&mut guest, open).await[..3], expected);
    // The peer's close, and its answer to ours.
    let (theirs, mut peer) = filled(&mut guest).await;
    peer.write(frame(CLOSE, close_payload(4000, "full"))).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(4000, "")));
    drop(peer);
    guest.reaches(theirs, State::Closed).await;
    let (ours, mut peer) = filled(&mut guest).await;
    guest.close(ours, Some(4000), None).await.unwrap();
    assert_eq!(peer.frame().await, (CLOSE, close_payload(4000, "")));
    peer.write(frame(CLOSE, close_payload(4000, "full"))).await;
    drop(peer);
    guest.reaches(ours, State::Closed).await;
    for open in [theirs, ours] {
        assert_eq!(guest.receive(open).await, Ok(full.clone()));
        assert_eq!(guest.receive(open).await, Ok(Message::Ping(b"1".into())));
        assert_eq!(guest.receive(open).await, Ok(Message::Close(4000, Some("full".into()))));
        guest.is_over(open).await;
    }
    // The end of the transport.
    let (lost, peer) = filled(&mut guest).await;
    peer.reset();
    guest.reaches(lost, State::Closed).await;
    assert_eq!(guest.receive(lost).await, Ok(full));
    assert_eq!(guest.receive(lost).await, Ok(Message::Ping(b"1".into())));
    assert!(matches!(guest.receive(lost).await, Err(Failure::IoError(_))));
    guest.is_over(lost).await;
}

#[tokio::test]
async fn receive_pong() {
    let interval = ["--keepalive-interval", "200ms", "--keepalive-floor", "200ms"];
    let (mut guest, open, mut peer) = open(&interval).await;
    let (kind, keepalive) = peer.frame().await;
    assert_eq!(kind, PING);
    peer.write([frame(PONG, keepalive), frame(PONG, "nobody asked")].concat()).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Pong(b"nobody asked".into())));
    guest.send(open, Message::Ping(b"mine".into())).await.unwrap();
    let mine = loop {
        match peer.frame().await {
            (PING, payload) if payload == b"mine" => break payload,
            (PING, payload) => peer.write(frame(PONG, payload)).await,
            other => panic!("{other:?}"),
        }
    };
    peer.write(frame(PONG, mine)).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Pong(b"mine".into())));
}

#[tokio::test]
async fn receive_close() {
    for (payload, code, reason) in [
        (close_payload(1000, "done"), 1000, Some("done")),
        (close_payload(4999, ""), 4999, None),
        (vec![], 1005, None),
        (close_payload(1001, &"ü".repeat(61)), 1001, Some("ü".repeat(61).as_str())),
    ] {
        let (mut guest, open, mut peer) = open(&[]).await;
        let wire = [frame(TEXT, "1"), frame(BINARY, [2]), frame(CLOSE, payload), frame(TEXT, "after the end")];
        peer.write(wire.concat()).await;
        drop(peer);
        assert_eq!(guest.receive(open).await, Ok(text("1")));
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![2])));
        assert_eq!(guest.receive(open).await, Ok(Message::Close(code, reason.map(str::to_owned))));
        guest.is_over(open).await;
    }
}

#[tokio::test]
async fn receive_lost() {
    for (rest, within) in [(vec![], false), (frame(TEXT, "cut off")[..4].into(), true), (frame(0x01, "part"), true)] {
        for reset in [false, true] {
            let (mut guest, open, mut peer) = open(&[]).await;
            peer.write([frame(TEXT, "whole"), rest.clone()].concat()).await;
            assert_eq!(guest.receive(open).await, Ok(text("whole")));
            if reset {
                peer.reset()
            } else {
                drop(peer)
            }
            match guest.receive(open).await {
                Err(Failure::IoError(why)) => assert_eq!(why.contains("in the middle of a message"), within, "{why}"),
                other => panic!("{other:?}"),
            }
            guest.is_over(open).await;
            assert_eq!(guest.state(open).await, State::Closed);
        }
    }
}

#[tokio::test]
async fn receive_violation() {
    let mut guest = Probe::start(&[]);
    for (wire, code) in [
        (frame(0xC1, "a reserved bit"), 1002),
        (vec![0x81, 0x81, 0, 0, 0, 0, b'a'], 1002),
        (frame(0x83, "a reserved opcode"), 1002),
        (frame(0x80, "no beginning"), 1002),
        ([frame(0x01, "a message in"), frame(0x01, "a message")].concat(), 1002),
        (frame(0x09, "half a ping"), 1002),
        (frame(PING, [0; 126]), 1002),
        ([&[BINARY, 127][..], &(1_u64 << 63).to_be_bytes(), &[0; 10]].concat(), 1002),
        ([&[BINARY, 127][..], &u64::MAX.to_be_bytes()].concat(), 1002),
        (frame(CLOSE, [3]), 1002),
        (frame(CLOSE, close_payload(1006, "")), 1002),
        (frame(CLOSE, close_payload(2999, "")), 1002),
        (frame(CLOSE, [&close_payload(1000, "")[..], &[0xFF]].concat()), 1007),
        (frame(TEXT, [0xC3, 0x28]), 1007),
        ([frame(0x01, [0xC3]), frame(0x80, "")].concat(), 1007),
    ] {
        let (open, mut peer) = crate::open_in(&mut guest, Config::default()).await;
        // A slow guest: the peer gets the close frame after half a second.
        peer.write([frame(TEXT, "before"), wire.clone(), frame(TEXT, "after")].concat()).await;
        assert_eq!(peer.frame().await, (CLOSE, close_payload(code, "")), "{wire:02X?}");
        peer.end().await;
        assert_eq!(guest.receive(open).await, Ok(text("before")));
        let failure = guest.receive(open).await;
        assert!(matches!(failure, Err(Failure::ProtocolError(_))), "{wire:02X?}: {failure:?}");
        guest.is_over(open).await;
    }
    // A prompt guest answers the earlier messages.
    let (open, mut peer) = crate::open_in(&mut guest, Config::default()).await;
    guest.ask(&Ask::Receive(open)).await;
    peer.write([frame(TEXT, "question"), frame(0xF1, "")].concat()).await;
    assert_eq!(guest.received().await, Ok(Some(text("question"))));
    guest.send(open, text("answer")).await.unwrap();
    assert!(matches!(guest.receive(open).await, Err(Failure::ProtocolError(_))));
    assert_eq!(peer.frame().await, (TEXT, b"answer".to_vec()));
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1002, "")));
}

#[tokio::test]
async fn receive_too_large() {
    for too_large in [
        frame(BINARY, [0; 201]),
        [frame(0x02, [0; 150]), frame(0x80, [0; 51])].concat(),
        [&[BINARY, 127][..], &((1_u64 << 63) - 1).to_be_bytes(), &[0; 10]].concat(),
    ] {
        let wishes = Config { max_message_size: Some(200), ..Config::default() };
        let (mut guest, open, mut peer) = open_as(&[], wishes).await;
        peer.write([frame(BINARY, [1; 200]), too_large].concat()).await;
        assert_eq!(peer.frame().await, (CLOSE, close_payload(1009, "")));
        peer.end().await;
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![1; 200])));
        assert!(matches!(guest.receive(open).await, Err(Failure::InvalidMessage(_))));
        guest.is_over(open).await;
    }
    // A size within the limit that is announced but never sent.
    let (mut guest, open, mut peer) = open_as(&["--max-message-size", "64MiB"], Config::default()).await;
    peer.write(frame(PING, "")).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Ping(vec![])));
    let before = kernel::resident_bytes(guest.process());
    peer.write([&[0x02, 127][..], &(60_u64 << 20).to_be_bytes(), &[0; 1000]].concat()).await;
    assert_eq!(guest.receive_once(open).await, Ok(None));
    let grown = kernel::resident_bytes(guest.process()).saturating_sub(before);
    assert!(grown < 8 << 20, "60 MiB that were announced took {grown} bytes");
}

#[tokio::test]
async fn receive_keepalive() {
    let options = ["--keepalive-interval", "300ms", "--keepalive-floor", "300ms", "--inbound-buffer", "1KiB"];
    let (mut guest, dead, mut peer) = open(&options).await;
    let begun = Instant::now();
    peer.write(frame(TEXT, "last words")).await;
    assert_eq!(peer.frame().await.0, PING);
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1011, "keep-alive timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(600));
    peer.end().await;
    assert_eq!(guest.receive(dead).await, Ok(text("last words")));
    assert_eq!(guest.receive(dead).await, Err(Failure::Timeout));
    guest.is_over(dead).await;
    // A single byte of a message now and then resets the interval.
    let (slow, mut peer) = crate::open_in(&mut guest, Config::default()).await;
    for byte in frame(TEXT, "slowly") {
        sleep(Duration::from_millis(150)).await;
        peer.write([byte]).await;
    }
    assert_eq!(guest.receive(slow).await, Ok(text("slowly")));
    // So does unread data that waits because the guest is slow.
    let (waiting, mut peer) = crate::open_in(&mut guest, Config::default()).await;
    peer.write((0..20).flat_map(|number| frame(BINARY, [number; 1000])).collect::<Vec<_>>()).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(guest.state(waiting).await, State::Open);
    for number in 0..20 {
        assert_eq!(guest.receive(waiting).await, Ok(Message::Binary(vec![number; 1000])));
    }
}

#[tokio::test]
async fn receive_kept() {
    let (mut guest, open, mut peer) = open(&["--inbound-buffer", "1KiB", "--close-timeout", "300ms"]).await;
    // No more than fits into the receive window, so that all of it has arrived when the peer is gone.
    let messages = (0..40).map(|number| vec![number; 1000]);
    peer.write(messages.clone().flat_map(|data| frame(BINARY, data)).collect::<Vec<_>>()).await;
    drop(peer);
    let failure = soon(async {
        loop {
            if let Err(failure) = guest.send(open, text("anyone?")).await {
                break failure;
            }
        }
    })
    .await;
    assert!(matches!(failure, Failure::IoError(_)), "{failure:?}");
    for data in messages {
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(data)));
    }
    assert!(matches!(guest.receive(open).await, Err(Failure::IoError(_))));
    guest.is_over(open).await;
}

/// Bytes of a connection that the kernel holds, either end.
fn queued(peer: &Peer) -> usize {
    let ends = [peer.tcp.local_addr().unwrap(), peer.tcp.peer_addr().unwrap()];
    let ours = |socket: &kernel::Socket| ends.contains(&socket.local) && ends.contains(&socket.remote);
    kernel::sockets().iter().filter(|socket| ours(socket)).map(|socket| socket.unsent + socket.unread).sum()
}

#[tokio::test]
async fn receive_bound() {
    let (mut guest, open, mut peer) = open(&["--inbound-buffer", "64KiB"]).await;
    let part = frame(BINARY, [5; 10_000]);
    let mut written = 0;
    // Until the peer cannot write for half a second: nothing else says that the host has stopped reading.
    while let Ok(more) =
        tokio::time::timeout(Duration::from_millis(500), peer.tcp.write(&part[written % part.len()..])).await
    {
        written += more.unwrap();
    }
    let held = written - queued(&peer);
    assert!(held < 64 * 1024 + 2 * part.len() + 64 * 1024, "the host holds {held} of {written} bytes");
    for _ in 0..written / part.len() {
        assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![5; 10_000])));
    }
    // The guest receives, so the peer can continue.
    peer.write(&part[written % part.len()..]).await;
    assert_eq!(guest.receive(open).await, Ok(Message::Binary(vec![5; 10_000])));
}
