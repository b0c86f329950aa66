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
        Poll::Ready(if self.fails { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(bytes.len()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn driver(writes: &Writes) -> Driver {
    let forever = Duration::from_secs(60);
    let limits = Limits {
        max_message_size: 1 << 20,
        inbound_buffer: 1 << 20,
        receive_wait: forever,
        write_timeout: forever,
        close_timeout: forever,
        keepalive: Some(forever),
    };
    let record = Attempt::begin(&Metrics::default(), &Warnings::default(), Role::Client, None).opened(None, None);
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
    for _ in 0..2 {
        let sent = driver.put_message(MessageRef::Binary(&[0; OUTPUT_BOUND]), &mut cx);
        assert!(matches!(sent, Some(Err(Error::Io(_)))), "{sent:?}");
        assert!(driver.output.is_empty());
    }
    assert_eq!(*writes.sizes.lock(), [HEADER + FIRST_BYTES]);
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
