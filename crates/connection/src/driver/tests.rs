use super::*;
use crate::{
    metrics::Metrics,
    record::{Attempt, Warnings},
};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that takes everything, or fails, and keeps how much each write had; it has an answer to read after the
/// first.
#[derive(Clone, Default)]
struct Writes {
    sizes: Arc<Mutex<Vec<usize>>>,
    wire: Arc<Mutex<BytesMut>>,
    fails: bool,
    answer: Vec<u8>,
}

impl AsyncRead for Writes {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.answer.is_empty() || self.sizes.lock().is_empty() {
            return Poll::Pending;
        }
        into.put_slice(&std::mem::take(&mut self.answer));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sizes.lock().push(bytes.len());
        self.wire.lock().extend_from_slice(bytes);
        Poll::Ready(if self.fails { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(bytes.len()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Writes {
    /// What a client wrote since the last time.
    fn messages(&self) -> Vec<Message> {
        let mut decoder = Decoder::new(Role::Server, usize::MAX);
        let mut wire = self.wire.lock();
        std::iter::from_fn(|| decoder.decode(&mut wire).unwrap()).collect()
    }
}

fn driver(writes: &Writes) -> Driver {
    driver_of(writes, &Metrics::default())
}

fn driver_of(writes: &Writes, metrics: &Metrics) -> Driver {
    let forever = Duration::from_secs(60);
    let limits = Limits {
        max_message_size: 1 << 20,
        inbound_buffer: 1 << 20,
        receive_wait: forever,
        write_timeout: forever,
        close_timeout: forever,
        keepalive: Some(forever),
    };
    let record = Attempt::begin(metrics, &Warnings::default(), Role::Client, None).opened(None, None);
    Driver::new(Box::new(writes.clone()), BytesMut::new(), Role::Client, limits, record)
}

const HEADER: usize = 14;
/// A text message of a server.
const TEXT: [u8; 3] = [0x81, 1, b'!'];

#[tokio::test]
async fn a_large_message_begins_to_leave_when_the_peer_has_answered_all_others() {
    let writes = Writes::default();
    let (mut driver, mut cx) = (driver(&writes), Context::from_waker(Waker::noop()));
    let large = vec![0; 1 << 20];
    let parts = vec![HEADER + FIRST_BYTES, large.len() - FIRST_BYTES];
    let whole = vec![HEADER + large.len()];
    for (answers, expected) in [(0, &parts), (0, &whole), (1, &whole), (2, &parts)] {
        (0..answers).for_each(|_| driver.input.extend(TEXT));
        driver.drive(Instant::now(), &mut cx);
        assert_eq!(driver.put_message(MessageRef::Binary(&large), &mut cx), Some(Ok(())));
        assert_eq!(std::mem::take(&mut *writes.sizes.lock()), *expected);
    }
}

#[tokio::test]
async fn nothing_follows_the_beginning_of_a_message_that_could_not_be_written() {
    let writes = Writes { fails: true, ..Writes::default() };
    let (mut driver, mut cx) = (driver(&writes), Context::from_waker(Waker::noop()));
    let sent = driver.put_message(MessageRef::Binary(&[0; OUTPUT_BOUND]), &mut cx);
    assert!(matches!(sent, Some(Err(Error::Io(_)))), "{sent:?}");
    for _ in 0..2 {
        let sent = driver.put_message(MessageRef::Binary(&[0; OUTPUT_BOUND]), &mut cx);
        assert_eq!(sent, Some(Err(Error::ConnectionClosed)));
        assert!(driver.output.is_empty());
    }
    assert_eq!(*writes.sizes.lock(), [HEADER + FIRST_BYTES]);
}

/// A frame of a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const CLOSE: u8 = 0x88;

/// The counter of this name.
fn count(metrics: &Metrics, name: &str) -> u64 {
    metrics.snapshot().find(|sample| sample.metric.name == name).unwrap().value
}

#[tokio::test]
async fn pings_and_pongs_that_nobody_receives_are_answered_and_dropped_without_end() {
    const ROUNDS: usize = 30_000;
    let (writes, metrics) = (Writes::default(), Metrics::default());
    let (mut driver, mut cx) = (driver_of(&writes, &metrics), Context::from_waker(Waker::noop()));
    driver.limits.inbound_buffer = 1024;
    for _ in 0..ROUNDS {
        driver.input.extend([frame(PING, &[]), frame(PONG, b"unasked")].concat());
        driver.drive(Instant::now(), &mut cx);
        assert!(!driver.paused && driver.input.is_empty());
    }
    assert_eq!(writes.messages(), vec![Message::Pong(Bytes::new()); ROUNDS]);
    let kept = std::iter::from_fn(|| driver.take_message()).count();
    assert_eq!(count(&metrics, "websocket.control_frames.dropped"), (2 * ROUNDS - kept) as u64);
    assert_eq!(kept, 2 * crate::inbox::MAX_UNREAD_CONTROL);
}

#[tokio::test]
async fn a_flood_of_pings_lets_others_have_the_lock_and_goes_on_by_itself() {
    struct Count(std::sync::atomic::AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Count(0.into()));
    let waker = Waker::from(woken.clone());
    let (writes, mut cx) = (Writes::default(), Context::from_waker(&waker));
    let mut driver = driver(&writes);
    for _ in 0..2 * CONTROL_BATCH + 1 {
        driver.input.extend(frame(PING, b"!"));
    }
    for (left, wakes) in [(CONTROL_BATCH + 1, true), (1, true), (0, false)] {
        let before = woken.0.load(std::sync::atomic::Ordering::Relaxed);
        driver.drive(Instant::now(), &mut cx);
        assert_eq!(driver.input.len(), 3 * left as usize);
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed) > before, wakes);
    }
    assert_eq!(writes.messages().len(), 2 * CONTROL_BATCH as usize + 1);
}

#[tokio::test]
async fn a_full_inbox_holds_up_data_and_no_control_frame_that_comes_before_it() {
    let writes = Writes::default();
    let mut cx = Context::from_waker(Waker::noop());
    let full = || {
        let mut driver = driver(&writes);
        driver.limits.inbound_buffer = 1;
        driver.input.extend(TEXT);
        driver
    };
    let mut driver = full();
    driver.input.extend(frame(PING, b"before"));
    driver.drive(Instant::now(), &mut cx);
    assert!(!driver.paused, "nothing waits that it does not take");
    assert_eq!(writes.messages(), [Message::Pong("before".into())]);
    driver.input.extend([frame(PING, b"again"), TEXT.into(), frame(PING, b"behind")].concat());
    driver.drive(Instant::now(), &mut cx);
    assert!(driver.paused);
    assert_eq!(writes.messages(), [Message::Pong("again".into())]);
    assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
    driver.drive(Instant::now(), &mut cx);
    assert_eq!(writes.messages(), [Message::Pong("behind".into())]);
    for (ours, answers) in [(false, 1), (true, 0)] {
        let mut driver = full();
        driver.drive(Instant::now(), &mut cx);
        if ours {
            driver.close(None, &mut cx);
            writes.messages();
        }
        driver.input.extend(frame(CLOSE, &1000u16.to_be_bytes()));
        driver.drive(Instant::now(), &mut cx);
        assert_eq!((driver.phase, writes.messages().len()), (Phase::Ending, answers));
        assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
        assert!(matches!(driver.take_message(), Some(Ok(Message::Close(_)))));
        assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
    }
}

#[tokio::test]
async fn a_failed_write_is_reported_once_each_way_after_what_came_before_and_leaves_the_connection_closing() {
    for is_flushed_by_another in [false, true] {
        let (writes, metrics) = (Writes::default(), Metrics::default());
        let (mut driver, mut cx) = (driver_of(&writes, &metrics), Context::from_waker(Waker::noop()));
        for _ in 0..2 {
            assert_eq!(driver.put_message(MessageRef::Text("?"), &mut cx), Some(Ok(())));
        }
        driver.flush(&mut cx);
        assert_eq!(count(&metrics, "websocket.messages"), 2);
        driver.transport = Some(Box::new(Writes { fails: true, ..Writes::default() }));
        driver.sends_bursts = is_flushed_by_another;
        if is_flushed_by_another {
            assert_eq!(driver.put_message(MessageRef::Text("?"), &mut cx), Some(Ok(())));
            driver.flush(&mut cx);
        }
        let failed = driver.put_message(MessageRef::Text("?"), &mut cx);
        assert!(matches!(failed, Some(Err(Error::Io(_)))), "{failed:?}");
        assert_eq!(count(&metrics, "websocket.messages"), 2 + u64::from(is_flushed_by_another));
        assert_eq!((driver.phase, driver.is_open(), driver.is_closed()), (Phase::ReadOnly, false, false));
        assert_eq!(driver.put_message(MessageRef::Text("?"), &mut cx), Some(Err(Error::ConnectionClosed)));
        driver.input.extend([TEXT.into(), frame(PING, b"late")].concat());
        driver.drive(Instant::now(), &mut cx);
        assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
        assert_eq!(driver.take_message(), Some(Ok(Message::Ping("late".into()))));
        assert_eq!(driver.take_message(), None);
        let silence = driver.deadline().unwrap();
        driver.drive(silence, &mut cx);
        assert_eq!(driver.take_message(), Some(failed.unwrap().map(|()| unreachable!())));
        assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
        assert_eq!(count(&metrics, "websocket.pings.answered"), 0);
    }
}

#[tokio::test]
async fn a_connection_that_nobody_holds_ends_when_a_write_fails() {
    let writes = Writes { fails: true, ..Writes::default() };
    let mut cx = Context::from_waker(Waker::noop());
    let away = CloseInfo { code: 1001, reason: None };
    let mut failed = driver(&writes);
    assert!(matches!(failed.put_message(MessageRef::Text("?"), &mut cx), Some(Err(Error::Io(_)))));
    let mut whole = driver(&writes);
    for driver in [&mut failed, &mut whole] {
        driver.abandon(&away, &mut cx);
        assert!(driver.is_closed());
    }
}

/// A violation that the guest may still answer what came before.
fn hold_violation(driver: &mut Driver, cx: &mut Context<'_>) {
    driver.input.extend([&TEXT[..], &[0xFF, 0]].concat());
    driver.drive(Instant::now(), cx);
    assert!(driver.held.is_some() && driver.is_open());
}

#[tokio::test]
async fn a_runtime_that_stops_while_a_violation_waits_ends_the_connection_for_good() {
    let (mut driver, mut cx) = (driver(&Writes::default()), Context::from_waker(Waker::noop()));
    hold_violation(&mut driver, &mut cx);
    driver.stop();
    assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
    let violation = driver.take_message();
    assert!(matches!(violation, Some(Err(Error::Protocol(_)))), "{violation:?}");
    for _ in 0..2 {
        assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
        assert!(driver.is_closed() && driver.deadline().is_none());
    }
}

#[tokio::test]
async fn a_violation_waits_for_no_guest_that_cannot_send() {
    let (mut driver, mut cx) = (driver(&Writes::default()), Context::from_waker(Waker::noop()));
    hold_violation(&mut driver, &mut cx);
    driver.transport = Some(Box::new(Writes { fails: true, ..Writes::default() }));
    assert!(matches!(driver.put_message(MessageRef::Text("?"), &mut cx), Some(Err(Error::Io(_)))));
    assert_eq!(driver.phase, Phase::Ending);
    assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
    assert!(matches!(driver.take_message(), Some(Err(Error::Protocol(_)))));
    assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
}

#[tokio::test]
async fn no_error_follows_the_end_of_what_is_received() {
    let mut cx = Context::from_waker(Waker::noop());
    for (wire, is_violation) in [(frame(CLOSE, &[]), false), (vec![0xFF, 0], true)] {
        for is_received_before in [false, true] {
            let mut driver = driver(&Writes::default());
            driver.input.extend(&wire);
            driver.drive(Instant::now(), &mut cx);
            let receive = |driver: &mut Driver| {
                let last = driver.take_message();
                assert_eq!(matches!(last, Some(Err(Error::Protocol(_)))), is_violation, "{last:?}");
                assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
            };
            if is_received_before {
                receive(&mut driver);
            }
            driver.stop();
            if !is_received_before {
                receive(&mut driver);
            }
            assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
        }
    }
}

#[tokio::test]
async fn a_violation_in_what_a_full_inbox_left_undecoded_is_reported_at_the_end() {
    let (mut driver, mut cx) = (driver(&Writes::default()), Context::from_waker(Waker::noop()));
    driver.limits.inbound_buffer = 1;
    driver.input.extend([&TEXT[..], &TEXT, &[0xFF, 0]].concat());
    driver.drive(Instant::now(), &mut cx);
    driver.close(None, &mut cx);
    let limit = driver.deadline().unwrap();
    driver.drive(limit, &mut cx);
    assert!(driver.is_closed());
    for _ in 0..2 {
        assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
    }
    assert!(matches!(driver.take_message(), Some(Err(Error::Protocol(_)))));
    assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
}

/// Gives every field a value that it can have before the end.
fn fill(driver: &mut Driver) {
    let now = Instant::now();
    driver.input.extend([&TEXT[..], &[0x01, 1, b'a']].concat());
    driver.drive(now, &mut Context::from_waker(Waker::noop()));
    assert!(driver.decoder.is_within_message());
    driver.input.extend([0x81]);
    driver.output.extend([0x81]);
    driver.paused = true;
    driver.held = Some((Violation { code: 1002, error: Error::Protocol("held".to_owned()) }, now));
    driver.write_error = Some(Error::Io("written".to_owned()));
    driver.send_error = driver.write_error.clone();
    driver.pong = Some(Bytes::new());
    (driver.unflushed, driver.blocked, driver.sends_bursts, driver.flush_due) = (true, true, true, true);
    (driver.sends, driver.unanswered) = (1, 1);
    (driver.close_by, driver.pinged) = (Some(now), Some(now));
}

#[tokio::test]
async fn of_a_connection_that_has_ended_nothing_is_left_but_what_receive_reports() {
    let ends: [fn(&mut Driver); 4] = [
        Driver::stop,
        Driver::finish,
        |driver| driver.lost("lost"),
        |driver| {
            driver.held = None;
            driver.write_error = None;
            driver.keep_time(Instant::now() + Duration::from_secs(100), &mut Context::from_waker(Waker::noop()));
            assert!(driver.is_closed());
        },
    ];
    for end in ends {
        let (writes, metrics) = (Writes::default(), Metrics::default());
        let (mut driver, mut cx) = (driver_of(&writes, &metrics), Context::from_waker(Waker::noop()));
        fill(&mut driver);
        driver.paused = driver.held.is_none();
        end(&mut driver);
        is_blank(&driver);
        let written = writes.sizes.lock().len();
        // Whatever is called later changes nothing.
        let later = Instant::now() + Duration::from_secs(1000);
        driver.stop();
        driver.flush(&mut cx);
        driver.drive(later, &mut cx);
        driver.close(None, &mut cx);
        assert_eq!(driver.put_message(MessageRef::Text("?"), &mut cx), Some(Err(Error::ConnectionClosed)));
        is_blank(&driver);
        assert_eq!(driver.take_message(), Some(Ok(Message::Text("!".to_owned()))));
        while driver.take_message() != Some(Err(Error::ConnectionClosed)) {}
        assert_eq!(driver.take_message(), Some(Err(Error::ConnectionClosed)));
        driver.abandon(&CloseInfo { code: 1001, reason: None }, &mut cx);
        is_blank(&driver);
        assert_eq!((driver.deadline(), driver.has_to_write()), (None, false));
        assert_eq!(writes.sizes.lock().len(), written, "nothing is written after the end");
        assert_eq!(count(&metrics, "websocket.connections.active"), 0);
    }
}

/// Names every field, so that a new one is checked as well.
#[track_caller]
fn is_blank(driver: &Driver) {
    let Driver {
        transport,
        phase,
        decoder,
        input,
        output,
        paused,
        held,
        write_error,
        send_error,
        pong,
        unflushed,
        blocked,
        sends,
        sends_bursts,
        unanswered,
        flush_due,
        ended,
        close_by,
        pinged,
        // Fixed, or told to the guest, or without a meaning by then.
        limits: _,
        encoder: _,
        read_size: _,
        control_left: _,
        inbox: _,
        failure: _,
        ends_first: _,
        abandoned: _,
        heard: _,
        tag: _,
        record: _,
        notices: _,
    } = driver;
    assert!(transport.is_none() && *phase == Phase::Closed && *ended);
    assert!(!decoder.is_within_message() && decoder.reserved() == 0);
    assert!(input.capacity() == 0 && output.capacity() == 0 && pong.is_none());
    assert!(held.is_none() && write_error.is_none() && send_error.is_none());
    assert!(!paused && !unflushed && !blocked && !sends_bursts && !flush_due);
    assert_eq!((*sends, *unanswered), (0, 0));
    assert!(close_by.is_none() && pinged.is_none());
}

#[tokio::test]
async fn what_arrives_in_the_instant_of_a_ping_is_a_sign_of_life() {
    let writes = Writes { answer: TEXT.into(), ..Writes::default() };
    let (mut driver, mut cx) = (driver(&writes), Context::from_waker(Waker::noop()));
    for pings in 1..=2 {
        let due = driver.deadline().unwrap();
        driver.drive(due, &mut cx);
        assert!(driver.is_open());
        assert_eq!(writes.sizes.lock().len(), pings);
    }
}
