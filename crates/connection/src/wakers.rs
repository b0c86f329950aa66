//! Who is woken when a connection's socket is ready: those who wait in a call, so that they are served
//! without a detour, and the connection's own task, since a guest may hold a call that it does not poll.

use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Wake, Waker},
};

#[derive(Default)]
pub(crate) struct Wakers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    task: Option<Waker>,
    callers: Vec<(u64, Waker)>,
    last_id: u64,
}

impl Wakers {
    /// Sets whom [`Wakers::wake_task`] wakes.
    pub(crate) fn set_task(&self, waker: &Waker) {
        let task = &mut self.0.lock().task;
        match task {
            Some(task) => task.clone_from(waker),
            None => *task = Some(waker.clone()),
        }
    }

    /// Wakes the connection's task.
    pub(crate) fn wake_task(&self) {
        let task = self.0.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Wakes everyone who waits in a call.
    pub(crate) fn wake_callers(&self) {
        let callers = std::mem::take(&mut self.0.lock().callers);
        callers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A tokio worker runs first what was woken last.
        self.wake_task();
        self.wake_callers();
    }
}

/// One call's place among those who wait.
pub(crate) struct Place<'a> {
    wakers: &'a Wakers,
    id: Option<u64>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(wakers: &'a Wakers) -> Self {
        Place { wakers, id: None }
    }

    /// Waits with `waker` until [`Wakers::wake_callers`].
    pub(crate) fn wait(&mut self, waker: &Waker) {
        let mut waiting = self.wakers.0.lock();
        let id = match self.id {
            Some(id) => id,
            None => {
                waiting.last_id += 1;
                waiting.last_id
            }
        };
        self.id = Some(id);
        match waiting.callers.iter_mut().find(|(other, _)| *other == id) {
            Some((_, own)) => own.clone_from(waker),
            None => waiting.callers.push((id, waker.clone())),
        }
    }

    /// Ends the wait of a call that has got what it waited for.
    pub(crate) fn leave(&mut self) {
        if let Some(id) = self.id.take() {
            self.wakers.0.lock().callers.retain(|(other, _)| *other != id);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
