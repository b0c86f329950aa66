//! The driver on a transport whose every read and write the test decides.

use super::*;
use crate::{
    Metrics,
    drive::shared::Shared,
    observe::record::{Attempt, Warnings},
};
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Wake,
};
use tokio::io::{AsyncRead, ReadBuf};

/// A transport that accepts everything, or fails, and records the size of each write. What the test puts into `input` is
/// read once.
#[derive(Clone, Default)]
struct Recorder {
    writes: Arc<Mutex<Vec<usize>>>,
    fails: bool,
    input: Arc<Mutex<Vec<u8>>>,
    /// Whether a read fails that finds no input.
    is_reset: Arc<AtomicBool>,
}

impl AsyncRead for Recorder {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut input = self.input.lock();
        let count = input.len().min(into.remaining());
        if count == 0 && self.is_reset.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if count == 0 {
            return Poll::Pending;
        }
        into.put_slice(&input[..count]);
        input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.lock().push(bytes.len());
        Poll::Ready(if self.fails { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(bytes.len()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

fn driver(transport: &Recorder, metrics: &Metrics) -> Driver {
    driver_with(transport, metrics, false)
}

fn driver_with(transport: &Recorder, metrics: &Metrics, streams: bool) -> Driver {
    let limits = Limits {
        max_message_size: 1 << 20,
        max_stream_size: u64::MAX,
        max_frame_size: usize::MAX,
        fragment_size: usize::MAX,
        streams,
        inbound_buffer: 1 << 20,
        receive_wait: INTERVAL,
        write_timeout: INTERVAL,
        close_timeout: INTERVAL,
        keepalive: Some(INTERVAL),
    };
    let record = Attempt::begin(metrics, &Warnings::default(), Role::Client, None).opened(None, None);
    Driver::new(Box::new(transport.clone()), BytesMut::new(), Role::Client, limits, None, record)
}

fn count(metrics: &Metrics, name: &str) -> u64 {
    metrics.snapshot().filter(|sample| sample.metric.name == name).map(|sample| sample.value).sum()
}

/// A client's longest header.
const HEADER: usize = 14;
/// A server's text message.
const TEXT: [u8; 3] = [0x81, 1, b'!'];
/// A server's ping.
const PING: [u8; 3] = [0x89, 1, b'!'];

#[tokio::test]
async fn the_first_part_of_a_large_message_is_written_early_when_the_peer_has_answered_all_others() {
    let transport = Recorder::default();
    let (mut driver, mut cx) = (driver(&transport, &Metrics::default()), Context::from_waker(Waker::noop()));
    let large = vec![0; 1 << 20];
    let parts = vec![HEADER + (16 << 10), large.len() - (16 << 10)];
    let whole = vec![HEADER + large.len()];
    for (answers, expected) in [(0, &parts), (0, &whole), (1, &whole), (2, &parts)] {
        transport.input.lock().extend(TEXT.repeat(answers));
        driver.drive(Driver::now(), &mut cx);
        assert_eq!(driver.put_message(MessageRef::Binary(&large), &mut cx), Some(Ok(())));
        assert_eq!(std::mem::take(&mut *transport.writes.lock()), *expected);
    }
}

#[tokio::test]
async fn a_failed_write_is_reported_once_and_the_message_does_not_count() {
    for size in [1, 64 << 10] {
        let (transport, metrics) = (Recorder { fails: true, ..Recorder::default() }, Metrics::default());
        let (mut driver, mut cx) = (driver(&transport, &metrics), Context::from_waker(Waker::noop()));
        let message = vec![0; size];
        let sent = driver.put_message(MessageRef::Binary(&message), &mut cx);
        assert!(matches!(sent, Some(Err(Error::Io(_)))), "{sent:?}");
        let again = driver.put_message(MessageRef::Binary(&message), &mut cx);
        assert_eq!(again, Some(Err(Error::ConnectionClosed)));
        driver.take_notices();
        assert_eq!(transport.writes.lock().len(), 1);
        assert_eq!(count(&metrics, "websocket.messages"), 0);
    }
}

#[tokio::test]
async fn the_counters_move_when_messages_are_written_and_not_with_each_of_a_batch() {
    let metrics = Metrics::default();
    let (mut driver, mut cx) = (driver(&Recorder::default(), &metrics), Context::from_waker(Waker::noop()));
    let mut counts = Vec::new();
    for _ in 0..17 {
        assert_eq!(driver.put_message(MessageRef::Text("!"), &mut cx), Some(Ok(())));
        driver.take_notices();
        counts.push(count(&metrics, "websocket.messages"));
    }
    assert_eq!(counts, [vec![1; 15], vec![16; 2]].concat());
    driver.flush(&mut cx);
    assert_eq!(count(&metrics, "websocket.messages"), 17);
}

#[tokio::test]
async fn a_reset_that_a_read_or_a_write_met_first_is_noticed() {
    let (mut cx, late) = (Context::from_waker(Waker::noop()), Driver::now() + 2 * INTERVAL);
    let reading = Recorder::default();
    let mut reads = driver(&reading, &Metrics::default());
    reads.drive(Driver::now(), &mut cx);
    assert!(!reads.notice_reset());
    reading.is_reset.store(true, Relaxed);
    reads.drive(Driver::now(), &mut cx);
    assert!(reads.notice_reset());

    let writing = Recorder { fails: true, ..Recorder::default() };
    let mut writes = driver(&writing, &Metrics::default());
    assert!(matches!(writes.put_message(MessageRef::Binary(&[0]), &mut cx), Some(Err(_))));
    writes.drive(late, &mut cx);
    assert!(writes.notice_reset());
}

#[tokio::test]
async fn a_flood_of_pings_lets_others_have_the_lock_and_goes_on_by_itself() {
    const PINGS: usize = 2_000;
    let (transport, metrics) = (Recorder::default(), Metrics::default());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let (mut driver, mut cx) = (driver(&transport, &metrics), Context::from_waker(&waker));
    transport.input.lock().extend(PING.repeat(PINGS));
    let mut turns = 0;
    woken.0.store(true, Relaxed);
    while woken.0.swap(false, Relaxed) {
        driver.drive(Driver::now(), &mut cx);
        turns += 1;
    }
    driver.take_notices();
    assert!(turns > 2, "{turns}");
    assert_eq!(count(&metrics, "websocket.pings.answered"), PINGS as u64);
    assert_eq!(count(&metrics, "websocket.control_frames.dropped"), PINGS as u64 - 16);
}

#[tokio::test]
async fn a_call_that_waits_is_not_woken_again_while_a_message_is_stopped() {
    let transport = Recorder::default();
    // The message is larger than the part of it that is read ahead.
    transport.input.lock().extend([&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0][..], &[7; 1 << 20]].concat());
    let shared = Arc::new(Shared::new(driver_with(&transport, &Metrics::default(), true)));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut wait = pin!(shared.wait(INTERVAL, |_, _| None::<()>));
    for expected in [true, false] {
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.swap(false, Relaxed), expected);
    }
}

#[tokio::test]
async fn a_silent_peer_is_sent_the_close_frame_before_the_transport_is_dropped() {
    let (transport, metrics) = (Recorder::default(), Metrics::default());
    let (mut driver, mut cx) = (driver(&transport, &metrics), Context::from_waker(Waker::noop()));
    for _ in 0..2 {
        let due = driver.deadline().unwrap();
        driver.drive(due, &mut cx);
        driver.take_notices();
    }
    assert_eq!(driver.state(), State::Closed);
    assert_eq!(transport.writes.lock().len(), 2, "a ping, and the close frame");
    assert_eq!(count(&metrics, "websocket.connections.closed"), 1);
    assert_eq!(driver.take_message(), Some(Err(Error::Timeout)));
}
