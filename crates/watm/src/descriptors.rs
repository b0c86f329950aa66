//! The descriptors of a transport. What it writes to a stream that has no room is kept, and meanwhile the others give it
//! nothing that would go there: so neither direction ever waits for the other.

use super::{
    errno::Errno,
    stream::{Closing, Ready, Stream},
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};

/// How many descriptors a transport may have, those included that are closed and have something left to send.
const MAX_DESCRIPTORS: usize = 64;
/// How often TCP is asked for resets while a stream is full, and so others are not read. Nothing wakes for the reset of
/// a socket that has bytes to read.
const RESET_CHECK: Duration = Duration::from_secs(1);

/// What a descriptor stands for.
pub(super) enum Descriptor {
    /// Standard input, which is at its end.
    Input,
    /// Standard output and error, whose lines are logged.
    Output(Vec<u8>),
    /// The rest of the configuration.
    Config(Bytes),
    Stream(Box<Stream>),
}

pub(super) struct Descriptors {
    /// By their numbers.
    places: Vec<Option<Descriptor>>,
    /// Streams that the transport has closed, each with something left to send.
    closing: JoinSet<()>,
    how_to_close: Closing,
    /// How long a write waits.
    write_timeout: Duration,
    /// When to ask for resets next.
    reset_check: Option<Pin<Box<Sleep>>>,
}

impl Descriptors {
    /// Those that every transport has from its start.
    pub(super) fn new(how_to_close: Closing, write_timeout: Duration) -> Self {
        let standard = [Descriptor::Input, Descriptor::Output(Vec::new()), Descriptor::Output(Vec::new())];
        Descriptors {
            places: standard.map(Some).into(),
            closing: JoinSet::new(),
            how_to_close,
            write_timeout,
            reset_check: None,
        }
    }

    /// Gives it the lowest number that is free.
    pub(super) fn insert(&mut self, descriptor: Descriptor) -> Result<i32, Errno> {
        while self.closing.try_join_next().is_some() {}
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if free + self.closing.len() >= MAX_DESCRIPTORS {
            return Err(Errno::MFILE);
        }
        self.places.resize_with(self.places.len().max(free + 1), || None);
        self.places[free] = Some(descriptor);
        Ok(free as i32)
    }

    pub(super) fn insert_stream(&mut self, stream: Stream) -> Result<i32, Errno> {
        self.insert(Descriptor::Stream(Box::new(stream)))
    }

    fn place(&mut self, number: i32) -> Option<&mut Option<Descriptor>> {
        usize::try_from(number).ok().and_then(|number| self.places.get_mut(number))
    }

    pub(super) fn get(&mut self, number: i32) -> Result<&mut Descriptor, Errno> {
        self.place(number).and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    fn streams(&mut self) -> impl Iterator<Item = (i32, &mut Stream)> {
        self.places.iter_mut().enumerate().filter_map(|(place, descriptor)| match descriptor {
            Some(Descriptor::Stream(stream)) => Some((place as i32, &mut **stream)),
            _ => None,
        })
    }

    pub(super) fn stream(&mut self, number: i32) -> Result<&mut Stream, Errno> {
        match self.get(number)? {
            Descriptor::Stream(stream) => Ok(stream),
            _ => Err(Errno::NOTSOCK),
        }
    }

    /// Sends what was written to any stream, as far as its peer reads.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) {
        self.streams().for_each(|(_, stream)| {
            // `Pending` changes nothing: a full stream wakes the task later.
            let _ = stream.poll_send(cx);
        });
        self.poll_resets(cx);
    }

    /// Notices peers that have reset their connections while nothing is read from them.
    fn poll_resets(&mut self, cx: &mut Context<'_>) {
        if !self.streams().any(|(_, stream)| stream.is_full()) {
            return;
        }
        let check = self.reset_check.get_or_insert_with(|| Box::pin(sleep(RESET_CHECK)));
        if check.as_mut().poll(cx).is_ready() {
            check.as_mut().reset(Instant::now() + RESET_CHECK);
            let _ = check.as_mut().poll(cx);
            self.streams().for_each(|(_, stream)| stream.notice_reset());
        }
    }

    /// Whether a stream has something to read, an end or an error included. While the
    /// queue of another stream is full, it reports no data. That pauses one direction, and not the other.
    pub(super) fn poll_readable(&mut self, number: i32, cx: &mut Context<'_>) -> Poll<Result<Ready, Errno>> {
        let is_held = self.streams().any(|(other, stream)| other != number && stream.is_full());
        match self.stream(number) {
            Ok(stream) if is_held && !stream.is_cancel && !stream.has_failed() => Poll::Pending,
            Ok(stream) => stream.poll_readable(cx).map(Ok),
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }

    /// Whether another stream than this one has something to read, an end included.
    pub(super) fn has_other_to_read(&mut self, number: i32, cx: &mut Context<'_>) -> bool {
        let others: Vec<i32> = self.streams().map(|(other, _)| other).filter(|other| *other != number).collect();
        others.into_iter().any(|other| self.poll_readable(other, cx).is_ready())
    }

    /// Takes up to so many bytes of a stream, none at the end; waits for them unless it is non-blocking. Cancel safe.
    pub(super) async fn read(&mut self, number: i32, most: usize) -> Result<Bytes, Errno> {
        let is_non_blocking = self.stream(number)?.non_blocking;
        let ready = poll_fn(|cx| {
            self.poll_send(cx);
            match self.poll_readable(number, cx) {
                Poll::Pending if is_non_blocking => Poll::Ready(Err(Errno::AGAIN)),
                polled => polled,
            }
        });
        let ready = ready.await?;
        self.stream(number)?.take(ready, most)
    }

    /// Takes all of it, and waits while too much of what was taken could not be sent: a transport that is told to try
    /// again may write all of it again.
    pub(super) async fn write(&mut self, number: i32, bytes: Bytes) -> Result<(), Errno> {
        self.stream(number)?.write(bytes)?;
        let limit = self.write_timeout;
        let room = poll_fn(|cx| {
            self.poll_send(cx);
            self.stream(number)?.poll_room()
        });
        timeout(limit, room).await.unwrap_or(Err(Errno::TIMEDOUT))
    }

    /// Ends the direction that is written, behind all that was.
    pub(super) async fn end_writing(&mut self, number: i32) -> Result<(), Errno> {
        self.stream(number)?.end_writing();
        // What cannot be sent yet is sent as the transport goes on.
        poll_fn(|cx| {
            self.poll_send(cx);
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Closes it. What was written to it is sent in the background, within limits. Must run in a tokio runtime.
    pub(super) fn close(&mut self, number: i32) -> Result<(), Errno> {
        let closed = self.place(number).and_then(Option::take).ok_or(Errno::BADF)?;
        if let Descriptor::Stream(stream) = closed
            && !stream.is_cancel
        {
            self.closing.spawn(stream.close(self.how_to_close.clone()));
        }
        Ok(())
    }

    /// Closes them all; gives the tasks that send what is left. Must run in a tokio runtime.
    pub(super) fn close_all(&mut self) -> JoinSet<()> {
        for number in 0..self.places.len() {
            // A number without a descriptor has none to close.
            let _ = self.close(number as i32);
        }
        std::mem::take(&mut self.closing)
    }
}
