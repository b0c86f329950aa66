//! Frames off the wire into a live connection, between whatever a guest does with it.

use crate::{
    case::{Case, Ending, Step},
    guest::{Guest, LATE, Seen},
    peer::{Order, Wire, frame, peer},
    reference::{CLOSE, End, Frame, PING, PONG, Stream, decode},
};
use arbitrary::{Arbitrary, Unstructured};
use std::{sync::LazyLock, time::Duration};
use tokio::{
    io::duplex,
    runtime::{Builder, Handle},
    sync::mpsc::unbounded_channel,
    task::yield_now,
    time::{Instant, sleep},
};
use websocket_connection::{ConnectConfig, ConnectionState, Endpoint, Error, Settings};

// An endpoint reads the certificates of the system, which takes longer than all of this.
static ENDPOINTS: LazyLock<[Endpoint; 2]> = LazyLock::new(|| {
    ["1", "1MiB"].map(|inbound_buffer| {
        let mut settings = Settings::default();
        settings.set("inbound-buffer", inbound_buffer).expect("a size");
        Endpoint::new(settings).expect("good settings")
    })
});

/// Runs one case on a connection without streams and on one with them, which receive messages in different ways; fails where
/// the connection does not do as the contract says.
pub fn frames(data: &[u8]) {
    for streams in [false, true] {
        let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(play(case, streams));
    }
}

async fn play(mut case: Case, streams: bool) {
    let endpoint = &ENDPOINTS[usize::from(!case.small_inbox)];
    let settings = endpoint.settings();
    let mut config = ConnectConfig::new("ws://localhost/");
    config.max_message_size = Some(case.largest);
    config.streams = streams;
    config.keepalive = Some(case.keepalive.is_some());
    config.keepalive_interval = case.keepalive;
    let (near, far) = duplex(case.pipe);
    let connection = endpoint.over(near, case.is_client, config).expect("good wishes");
    let (orders, received) = unbounded_channel();
    let peer = tokio::spawn(peer(far, received));
    let order = |order| {
        // A peer that is gone follows no orders.
        let _ = orders.send(order);
    };
    let mut guest = Guest { connection, settings, largest: case.largest, seen: Seen::default() };
    for (step, others_turn) in std::mem::take(&mut case.steps) {
        match step {
            Step::Wire(bytes) => order(Order::Say(bytes)),
            Step::Frame(first, payload) => order(Order::Say(frame(first, &payload, !case.is_client))),
            Step::PeerReads(reads) => {
                guest.seen.peer_stalled |= !reads;
                order(Order::Read(reads));
            }
            Step::PeerEnds => {
                guest.seen.peer_ended = true;
                order(Order::End);
            }
            Step::PeerVanishes => {
                guest.seen.peer_vanished = true;
                order(Order::Vanish);
            }
            step => guest.act(step).await,
        }
        if others_turn {
            yield_now().await;
        }
        guest.watch_state();
    }
    let limit = match (&case.ending, case.keepalive) {
        (Ending::Close, _) => {
            guest.act(Step::Close(None, None)).await;
            settings.close_timeout
        }
        (Ending::Wait, Some(interval)) => settings.close_timeout.max(2 * interval),
        (Ending::Wait | Ending::Peer, _) => {
            guest.seen.peer_ended = true;
            order(Order::End);
            Duration::ZERO
        }
        (Ending::Drop, _) => Duration::ZERO,
    };
    let begun = Instant::now();
    while case.ending != Ending::Drop && !guest.seen.over {
        guest.act(Step::Receive).await;
        guest.watch_state();
        assert!(begun.elapsed() <= limit + LATE, "the end takes {:?}", begun.elapsed());
    }
    let Guest { connection, seen, .. } = guest;
    let was_open = connection.state() == ConnectionState::Open;
    assert!(!(seen.over && was_open), "open after the end");
    drop(connection);
    sleep(settings.close_timeout + LATE).await;
    let alive = Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive, usize::from(!peer.is_finished()), "the connection's task outlives the close timeout");
    drop(orders);
    let wire = peer.await.expect("the peer reads to the end");
    check(&case, streams, &seen, was_open, &wire);
}

/// Holds what the guest saw, and what the peer heard, to what each of them said.
fn check(case: &Case, streams: bool, seen: &Seen, dropped_open: bool, wire: &Wire) {
    let said = decode(&wire.said, !case.is_client, case.largest);
    check_order(&seen.received, &said.messages);
    if seen.over {
        check_end(case, streams, seen, &said);
        // The transport cannot hold more than its size: the rest has been read.
        let read = &wire.said[..wire.said.len().saturating_sub(case.pipe)];
        let read = decode(read, !case.is_client, case.largest).messages;
        let (received, read) = (uncontrolled(&seen.received), uncontrolled(&read));
        assert!(received.starts_with(&read), "{received:?} is not all of {read:?}");
    }
    let heard = decode(&wire.heard, case.is_client, usize::MAX);
    assert!(!matches!(heard.end, End::Broken(_)), "what is sent breaks the rules");
    // The keep-alive's pings have eight bytes.
    let is_data = |(kind, data): &&Frame| match *kind {
        PING => case.keepalive.is_none() || data.len() != 8,
        kind => kind != PONG && kind != CLOSE,
    };
    let (sent, arrived): (Vec<_>, Vec<_>) =
        (seen.sent.iter().filter(is_data).collect(), heard.messages.iter().filter(is_data).collect());
    assert!(sent.starts_with(&arrived), "{arrived:?} is heard, and {sent:?} was sent");
    if seen.failure == Some(Error::Timeout) && seen.closed.is_none() && !seen.peer_stalled {
        assert!(heard.messages.iter().any(|(kind, _)| *kind == PING), "given up without a ping");
    }
    check_pongs(seen, &said, &heard);
    if heard.end == End::Closed {
        assert_eq!(arrived.len(), sent.len(), "what was sent before the close frame did not leave");
        assert_eq!(heard.rest, 0, "bytes follow the close frame");
        let mut order = heard.messages.iter();
        assert!(seen.sent.iter().all(|sent| order.any(|heard| heard == sent)), "not in the order of sends");
    }
    check_close(case, seen, dropped_open, &said, &heard);
}

fn is_control((kind, _): &Frame) -> bool {
    matches!(*kind, PING | PONG)
}

/// The messages that are never dropped.
fn uncontrolled(messages: &[Frame]) -> Vec<&Frame> {
    messages.iter().filter(|message| !is_control(message)).collect()
}

/// Everything is received in its order, and only pings and pongs are missing that enough of their kind follow.
fn check_order(received: &[Frame], said: &[Frame]) {
    const KEPT: usize = 16;
    let mut rest = said;
    for message in received {
        let place = rest.iter().position(|said| said == message);
        let missing = place.map(|place| &rest[..place]);
        let may_miss = missing.is_some_and(|missing| missing.iter().all(is_control));
        assert!(may_miss, "{received:?} instead of {said:?}");
        rest = &rest[place.unwrap_or_default() + 1..];
    }
    for kind in [PING, PONG] {
        let of = |messages: &[Frame]| messages.iter().filter(|message| message.0 == kind).count();
        let missing = of(&said[..said.len() - rest.len()]) - of(received);
        assert!(missing == 0 || of(said) >= KEPT + missing, "{received:?} misses some of {said:?}");
    }
}

/// Holds how a connection ended, and what came before, to what the peer said.
fn check_end(case: &Case, streams: bool, seen: &Seen, said: &Stream) {
    let all = uncontrolled(&seen.received) == uncontrolled(&said.messages);
    // Where the guest is slow, the end of closing may come before all is read.
    let size: usize = said.messages.iter().map(|(_, data)| data.len() + 64).sum();
    // With streams, a message that is too large to be received whole is one only once the guest asks for it.
    let may_wait = case.small_inbox || size >= 1 << 20 || streams && said.end == End::Broken(1009);
    let may_lack = seen.gave_up && may_wait;
    match (said.end, &seen.failure) {
        (_, Some(Error::Timeout)) if may_lack => {}
        (_, Some(Error::Io(_))) if may_lack && seen.peer_vanished => {}
        (End::Closed, None) if all => {}
        (End::Cut, Some(Error::Io(_))) if all && (seen.peer_ended || seen.peer_vanished) => {}
        (End::Cut, Some(Error::Timeout)) if all && (seen.closed.is_some() || case.keepalive.is_some()) => {}
        (End::Broken(1002 | 1007), Some(Error::Protocol(_))) if all => {}
        (End::Broken(1009), Some(Error::InvalidMessage(_))) if all => {}
        (end, failure) => panic!("{failure:?} after {:?} instead of {end:?} after {:?}", seen.received, said.messages),
    }
}

/// Pongs are the guest's, or each the answer to a ping; only pings that others follow may lack one.
fn check_pongs(seen: &Seen, said: &Stream, heard: &Stream) {
    let of = |messages: &[Frame], wanted| -> Vec<Vec<u8>> {
        messages.iter().filter(|(kind, _)| *kind == wanted).map(|(_, data)| data.clone()).collect()
    };
    let (pings, pongs) = (of(&said.messages, PING), of(&heard.messages, PONG));
    if let Some(last) = pings.last()
        && heard.end == End::Closed
        && seen.over
        && seen.closed.is_none()
    {
        assert!(pongs.contains(last), "no pong answers {last:?}");
    }
    let mut owed = [of(&seen.sent, PONG), pings].concat();
    for pong in pongs {
        let place = owed.iter().position(|owed| *owed == pong);
        owed.swap_remove(place.unwrap_or_else(|| panic!("a pong that answers nothing: {pong:?}")));
    }
}

/// Holds the close frame that goes out to who closed, and why.
fn check_close(case: &Case, seen: &Seen, dropped_open: bool, said: &Stream, heard: &Stream) {
    let code = |code: u16| code.to_be_bytes().to_vec();
    let by_peer = match (said.end, said.messages.last()) {
        (End::Closed, Some((_, payload))) => Some(payload.iter().take(2).copied().collect()),
        (End::Broken(why), _) => Some(code(why)),
        _ => case.keepalive.map(|_| [&code(1011)[..], b"keep-alive timeout"].concat()),
    };
    match heard.messages.last().filter(|_| heard.end == End::Closed) {
        Some((_, payload)) => {
            let right = match &seen.closed {
                Some(own) => payload == own,
                None => Some(payload) == by_peer.as_ref() || dropped_open && *payload == code(1001),
            };
            assert!(right, "{payload:?} closes, {:?} or {by_peer:?} should", seen.closed);
        }
        None => {
            // Without a close frame of the peer's, its end is the loss of the connection, whatever invalid data comes before it
            // that a dropped connection discards.
            let discarded = case.ending == Ending::Drop && matches!(said.end, End::Broken(_));
            let lost = seen.peer_vanished || seen.peer_ended && (said.end == End::Cut || discarded);
            // Whoever is silent for too long is not waited for.
            let silent = case.keepalive.is_some() && seen.closed.is_none() && said.end == End::Cut && case.pipe < 64;
            assert!(lost || silent || seen.peer_stalled, "no close frame is heard");
        }
    }
}
