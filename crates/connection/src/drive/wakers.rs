//! Who is woken when a connection's socket is ready: the calls that wait, so that they are served without a detour.
//!
//! A guest may hold a call that it never polls again, so the connection's task polls the socket as well: at the first event of
//! a busy time, and then at intervals. To wake it at each event would cost as much as the call itself. The task's timer is also
//! that of the calls: most of them get what they wait for long before their time is over.
//!
//! docs/architecture.md has the argument why no wake-up is lost, and `tests/wakeups` checks this code by trying schedules.

use super::sync::Mutex;
use std::{
    sync::Arc,
    task::{Wake, Waker},
    time::Instant,
};

#[derive(Default)]
pub(crate) struct Wakers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    task: Option<Waker>,
    callers: Vec<Caller>,
    last_id: u64,
    /// When the task's timer wakes it.
    timer: Option<Instant>,
    /// The socket was ready since the task last polled it.
    was_ready: bool,
    /// The task will poll by itself: while calls wait, the socket wakes them alone.
    task_polls: bool,
}

struct Caller {
    id: u64,
    waker: Waker,
    /// When its wait is over.
    until: Option<Instant>,
}

/// When the task polls the socket next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextPoll {
    /// An interval from now.
    AfterInterval,
    /// As was decided before.
    Unchanged,
    /// When the socket wakes it.
    OnWake,
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

    /// Notes that the task has polled the socket, and whether it was due to; returns when it polls next.
    pub(crate) fn polled(&self, is_due: bool) -> NextPoll {
        let mut waiting = self.0.lock();
        let was_ready = std::mem::take(&mut waiting.was_ready);
        let next = match (was_ready, is_due) {
            (true, true) => NextPoll::AfterInterval,
            (_, false) => NextPoll::Unchanged,
            (false, true) => NextPoll::OnWake,
        };
        waiting.task_polls = next != NextPoll::OnWake;
        next
    }

    /// Returns when the task's timer must wake it: at its own deadline, and when the time of a waiting call is over. Wakes
    /// the calls whose time is over now.
    pub(crate) fn set_timer(&self, own: Option<Instant>, now: Instant) -> Option<Instant> {
        let mut waiting = self.0.lock();
        let is_over = |caller: &mut Caller| caller.until.is_some_and(|until| until <= now);
        let over: Vec<_> = waiting.callers.extract_if(.., is_over).collect();
        waiting.timer = waiting.callers.iter().filter_map(|caller| caller.until).chain(own).min();
        let timer = waiting.timer;
        drop(waiting);
        wake(over);
        timer
    }

    /// Wakes the connection's task.
    pub(crate) fn wake_task(&self) {
        let task = self.0.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Wakes every call that waits.
    pub(crate) fn wake_callers(&self) {
        wake(std::mem::take(&mut self.0.lock().callers));
    }
}

fn wake(callers: Vec<Caller>) {
    callers.into_iter().for_each(|caller| caller.waker.wake());
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (task, callers) = {
            let mut waiting = self.0.lock();
            waiting.was_ready = true;
            let spares_task = waiting.task_polls && !waiting.callers.is_empty();
            (waiting.task.clone().filter(|_| !spares_task), std::mem::take(&mut waiting.callers))
        };
        // A tokio worker runs first what was woken last.
        task.into_iter().for_each(Waker::wake);
        wake(callers);
    }
}

/// The registration of one call that waits.
pub(crate) struct Registration<'a> {
    wakers: &'a Wakers,
    id: Option<u64>,
}

impl<'a> Registration<'a> {
    pub(crate) fn new(wakers: &'a Wakers) -> Self {
        Registration { wakers, id: None }
    }

    /// Registers `waker` until [`Wakers::wake_callers`], or until the time is over. Returns whether the task must set its timer
    /// anew.
    #[must_use]
    pub(crate) fn register(&mut self, waker: &Waker, until: Option<Instant>) -> bool {
        let mut waiting = self.wakers.0.lock();
        let id = match self.id {
            Some(id) => id,
            None => {
                waiting.last_id += 1;
                waiting.last_id
            }
        };
        self.id = Some(id);
        match waiting.callers.iter_mut().find(|caller| caller.id == id) {
            Some(own) => own.waker.clone_from(waker),
            None => waiting.callers.push(Caller { id, waker: waker.clone(), until }),
        }
        until.is_some_and(|until| waiting.timer.is_none_or(|timer| timer > until))
    }

    /// Ends the wait of a call that returns.
    pub(crate) fn end(&mut self) {
        if let Some(id) = self.id.take() {
            self.wakers.0.lock().callers.retain(|caller| caller.id != id);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let mut waiting = self.wakers.0.lock();
        let count = waiting.callers.len();
        waiting.callers.retain(|caller| caller.id != id);
        if waiting.callers.len() == count {
            // This call was woken and then dropped: it has taken a wake-up that it does not use.
            drop(waiting);
            self.wakers.wake_task();
        }
    }
}
