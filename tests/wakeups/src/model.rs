//! A connection reduced to its queues: a socket that messages arrive on, a bounded inbox, and an output that is written in
//! batches.

use crate::{
    shared::{Drive, Notices},
    sync::Mutex,
};
use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    task::{Context, Waker},
    time::Instant,
};

/// Time stands still.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The socket: like tokio's, it wakes the waker that polled it last.
#[derive(Clone, Default)]
pub(crate) struct Socket(Arc<Mutex<SocketState>>);

#[derive(Default)]
struct SocketState {
    incoming: VecDeque<u32>,
    is_ended: bool,
    reader: Option<Waker>,
    written: u32,
}

impl Socket {
    /// A message arrives; `None` is the end.
    pub(crate) fn arrive(&self, message: Option<u32>) {
        let mut state = self.0.lock();
        match message {
            Some(message) => state.incoming.push_back(message),
            None => state.is_ended = true,
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// How many messages were written.
    pub(crate) fn written(&self) -> u32 {
        self.0.lock().written
    }
}

pub(crate) struct Model {
    socket: Socket,
    /// How many messages may wait in the inbox.
    capacity: usize,
    inbox: VecDeque<u32>,
    is_paused: bool,
    is_ended: bool,
    output: u32,
    notices: Notices,
}

impl Model {
    pub(crate) fn new(socket: &Socket, capacity: usize) -> Self {
        Model {
            socket: socket.clone(),
            capacity,
            inbox: VecDeque::new(),
            is_paused: false,
            is_ended: false,
            output: 0,
            notices: Notices::default(),
        }
    }

    /// The next message, or `None` at the end; nothing while neither is there.
    pub(crate) fn receive(&mut self) -> Option<Option<u32>> {
        if let Some(message) = self.inbox.pop_front() {
            self.notices.task |= self.is_paused;
            return Some(Some(message));
        }
        self.is_ended.then_some(None)
    }

    /// Puts a message into a batch.
    pub(crate) fn send(&mut self) {
        self.output += 1;
        self.notices.flush |= self.output == 1;
    }
}

impl Drive for Model {
    fn drive(&mut self, _: Instant, cx: &mut Context<'_>) {
        self.flush(cx);
        let mut socket = self.socket.0.lock();
        loop {
            self.is_paused = self.inbox.len() >= self.capacity;
            if self.is_paused {
                return;
            }
            match socket.incoming.pop_front() {
                Some(message) => self.inbox.push_back(message),
                None if socket.is_ended => {
                    self.notices.callers |= !self.is_ended;
                    self.notices.task |= !self.is_ended;
                    self.is_ended = true;
                    return;
                }
                None => {
                    socket.reader = Some(cx.waker().clone());
                    return;
                }
            }
            self.notices.callers = true;
        }
    }

    fn flush(&mut self, _: &mut Context<'_>) {
        self.socket.0.lock().written += std::mem::take(&mut self.output);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn is_closed(&self) -> bool {
        self.is_ended
    }

    fn take_notices(&mut self) -> Notices {
        std::mem::take(&mut self.notices)
    }

    fn now() -> Instant {
        *NOW
    }
}
