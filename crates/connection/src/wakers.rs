//! Who is woken when a connection's socket is ready: those who wait in a call, so that they are served without a
//! detour. A guest may hold a call that it does not poll, so the connection's own task looks after them: at the first
//! event of a busy time, and then at intervals. To wake it at each would cost as much as the call itself. Its alarm is
//! that of the calls as well: what most of them wait for comes long before their time is up.

use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Wake, Waker},
};
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Wakers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    task: Option<Waker>,
    callers: Vec<Caller>,
    last_id: u64,
    /// When the task wakes by itself.
    alarm: Option<Instant>,
    /// The socket was ready since the task last looked.
    was_ready: bool,
    /// The task will look by itself: where callers wait, the socket wakes them alone.
    task_looks: bool,
}

struct Caller {
    id: u64,
    waker: Waker,
    /// When its wait is over.
    until: Option<Instant>,
}

/// When the task looks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// In an interval from now.
    Again,
    /// When it was to look anyway.
    AsBefore,
    /// When the socket is ready.
    WhenWoken,
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

    /// Notes that the task has driven the connection; `is_due` if it was to look by now.
    pub(crate) fn look(&self, is_due: bool) -> Look {
        let mut waiting = self.0.lock();
        let was_ready = std::mem::take(&mut waiting.was_ready);
        let look = match (was_ready, is_due) {
            (true, true) => Look::Again,
            (_, false) => Look::AsBefore,
            (false, true) => Look::WhenWoken,
        };
        waiting.task_looks = look != Look::WhenWoken;
        look
    }

    /// When the task wakes by itself: at what it has to do, and when a wait is over. Those that are by now are woken.
    pub(crate) fn set_alarm(&self, own: Option<Instant>, now: Instant) -> Option<Instant> {
        let mut waiting = self.0.lock();
        let is_over = |caller: &mut Caller| caller.until.is_some_and(|until| until <= now);
        let over: Vec<_> = waiting.callers.extract_if(.., is_over).collect();
        waiting.alarm = waiting.callers.iter().filter_map(|caller| caller.until).chain(own).min();
        let alarm = waiting.alarm;
        drop(waiting);
        wake(over);
        alarm
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
            let spares_task = waiting.task_looks && !waiting.callers.is_empty();
            (waiting.task.clone().filter(|_| !spares_task), std::mem::take(&mut waiting.callers))
        };
        // A tokio worker runs first what was woken last.
        task.into_iter().for_each(Waker::wake);
        wake(callers);
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

    /// Waits with `waker` until [`Wakers::wake_callers`], or until then; whether the task must set its alarm anew for it.
    #[must_use]
    pub(crate) fn wait(&mut self, waker: &Waker, until: Option<Instant>) -> bool {
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
        until.is_some_and(|until| waiting.alarm.is_none_or(|alarm| alarm > until))
    }

    /// Ends the wait of a call that has got what it waited for.
    pub(crate) fn leave(&mut self) {
        if let Some(id) = self.id.take() {
            self.wakers.0.lock().callers.retain(|caller| caller.id != id);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let mut waiting = self.wakers.0.lock();
        let count = waiting.callers.len();
        waiting.callers.retain(|caller| caller.id != id);
        if waiting.callers.len() == count {
            // It was woken, and whoever is given up does nothing.
            drop(waiting);
            self.wakers.wake_task();
        }
    }
}
