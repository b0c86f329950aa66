//! The descriptors of a transport. What it writes to a stream that has no room is kept, and meanwhile the others give it
//! nothing that would go there: so neither direction ever waits for the other.

use super::{
    errno::Errno,
    stream::{Ready, Stream},
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    task::{Context, Poll},
};

/// How many descriptors a transport may have.
const MAX_DESCRIPTORS: usize = 64;

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

/// Descriptors by their numbers.
pub(super) struct Descriptors(Vec<Option<Descriptor>>);

impl Default for Descriptors {
    fn default() -> Self {
        Descriptors(
            [Descriptor::Input, Descriptor::Output(Vec::new()), Descriptor::Output(Vec::new())].map(Some).into(),
        )
    }
}

impl Descriptors {
    /// Gives it the lowest number that is free.
    pub(super) fn insert(&mut self, descriptor: Descriptor) -> Result<i32, Errno> {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free >= MAX_DESCRIPTORS {
            return Err(Errno::MFILE);
        }
        self.0.resize_with(self.0.len().max(free + 1), || None);
        self.0[free] = Some(descriptor);
        Ok(free as i32)
    }

    pub(super) fn insert_stream(&mut self, stream: Stream) -> Result<i32, Errno> {
        self.insert(Descriptor::Stream(Box::new(stream)))
    }

    pub(super) fn get(&mut self, number: i32) -> Result<&mut Descriptor, Errno> {
        let place = usize::try_from(number).ok().and_then(|number| self.0.get_mut(number));
        place.and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    fn streams(&mut self) -> impl Iterator<Item = (i32, &mut Stream)> {
        self.0.iter_mut().enumerate().filter_map(|(place, descriptor)| match descriptor {
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

    /// Lets what was written to any stream leave; ready once nothing waits.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Every one, and not up to the first that waits.
        self.streams()
            .fold(Poll::Ready(()), |all, (_, stream)| if stream.poll_send(cx).is_ready() { all } else { Poll::Pending })
    }

    /// Whether a stream has something to read, an end or an error included. What it gives goes on to another, and while
    /// that one is full it has nothing: one direction waits, and the other does not.
    pub(super) fn poll_readable(&mut self, number: i32, cx: &mut Context<'_>) -> Poll<Result<Ready, Errno>> {
        let is_held = self.streams().any(|(other, stream)| other != number && stream.is_full());
        match self.stream(number) {
            Ok(stream) if is_held && !stream.is_cancel => Poll::Pending,
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
            // Not ready is no news: whoever is full then wakes it.
            let _ = self.poll_send(cx);
            match self.poll_readable(number, cx) {
                Poll::Pending if is_non_blocking => Poll::Ready(Err(Errno::AGAIN)),
                polled => polled,
            }
        });
        let ready = ready.await?;
        self.stream(number)?.take(ready, most)
    }

    /// Takes all of it, and waits while too much of what was taken could not leave: a transport that is told to try
    /// again may write all of it again.
    pub(super) async fn write(&mut self, number: i32, bytes: Bytes) -> Result<(), Errno> {
        self.stream(number)?.write(bytes)?;
        poll_fn(|cx| {
            let _ = self.poll_send(cx);
            self.stream(number)?.poll_room()
        })
        .await
    }

    /// Ends the direction that is written, behind all that was.
    pub(super) async fn end_writing(&mut self, number: i32) -> Result<(), Errno> {
        self.stream(number)?.end_writing();
        // What cannot leave yet does as the transport goes on.
        poll_fn(|cx| {
            let _ = self.poll_send(cx);
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Closes it once all that was written to it has left.
    pub(super) async fn close(&mut self, number: i32) -> Result<(), Errno> {
        poll_fn(|cx| {
            let _ = self.poll_send(cx);
            self.stream(number).map_or(Poll::Ready(()), |stream| stream.poll_send(cx))
        })
        .await;
        let place = usize::try_from(number).ok().and_then(|number| self.0.get_mut(number));
        place.and_then(Option::take).map(drop).ok_or(Errno::BADF)
    }
}
