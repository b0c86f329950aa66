//! How calls wait on a connection, who drives it meanwhile, and who wakes whom. Generic over what is driven, so that it can be
//! checked without sockets: `tests/wakeups` includes this file.

use super::{
    flusher::{Flush, flush_soon},
    sync::{Mutex, MutexGuard},
    timer::Timer,
    wakers::{NextPoll, Registration, Wakers},
};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How often the task of a busy connection polls the socket, in case the calls that the socket wakes do not.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The state of a connection behind its lock.
pub(crate) trait Drive: Send + 'static {
    /// Does all the reading and writing that can be done now, and what time asks for. When it returns, `cx` is woken for
    /// whatever comes next, deadlines excepted.
    fn drive(&mut self, now: Instant, cx: &mut Context<'_>);

    /// Writes the batch of messages that were sent.
    fn flush(&mut self, cx: &mut Context<'_>);

    /// When [`Drive::drive`] must be called again, whatever the socket does.
    fn deadline(&self) -> Option<Instant>;

    /// Whether nothing is left to drive.
    fn is_closed(&self) -> bool;

    /// Who has something to do because of the calls since this was last called.
    fn take_notices(&mut self) -> Notices;

    /// The time, as the deadlines have it.
    fn now() -> Instant;
}

/// Who has something to do after a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// The calls that wait.
    pub(crate) callers: bool,
    /// The connection's task: a deadline moved, reading may go on, or output waits.
    pub(crate) task: bool,
    /// A thread that is free to [`Drive::flush`]: the caller's own may be busy with a guest.
    pub(crate) flush: bool,
}

/// What the handle, the task and the flusher share.
pub(crate) struct Shared<D> {
    driver: Mutex<D>,
    wakers: Arc<Wakers>,
    /// The waker that the socket gets: [`Wakers`].
    socket_waker: Waker,
}

impl<D: Drive> Shared<D> {
    pub(crate) fn new(driver: D) -> Self {
        let wakers = Arc::new(Wakers::default());
        let socket_waker = Waker::from(Arc::clone(&wakers));
        Shared { driver: Mutex::new(driver), wakers, socket_waker }
    }

    /// The lock alone, for calls that change nothing.
    pub(crate) fn lock(&self) -> MutexGuard<'_, D> {
        self.driver.lock()
    }

    /// Calls `act` under the lock, then wakes those who have something to do because of it.
    pub(crate) fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut D, &mut Context<'_>) -> R) -> R {
        let mut driver = self.driver.lock();
        let outcome = act(&mut driver, &mut Context::from_waker(&self.socket_waker));
        self.notify(driver, false);
        outcome
    }

    fn notify(self: &Arc<Self>, mut driver: MutexGuard<'_, D>, wakes_task: bool) {
        let notices = driver.take_notices();
        drop(driver);
        if notices.callers {
            self.wakers.wake_callers();
        }
        if notices.task || wakes_task {
            self.wakers.wake_task();
        }
        if notices.flush {
            flush_soon(Arc::clone(self) as Arc<dyn Flush>);
        }
    }

    /// Waits until `attempt` returns an outcome, up to a limit, and drives the connection meanwhile. Cancel safe.
    pub(crate) async fn wait<R>(
        self: &Arc<Self>,
        limit: Duration,
        mut attempt: impl FnMut(&mut D, &mut Context<'_>) -> Option<R>,
    ) -> Option<R> {
        let mut until = None;
        let mut registration = Registration::new(&self.wakers);
        poll_fn(|cx| {
            let now = D::now();
            let until = *until.get_or_insert_with(|| now.checked_add(limit));
            let mut socket = Context::from_waker(&self.socket_waker);
            let mut driver = self.driver.lock();
            driver.drive(now, &mut socket);
            let outcome = attempt(&mut driver, &mut socket);
            let is_over = outcome.is_some() || until.is_some_and(|until| until <= now);
            let mut wakes_task = false;
            if is_over {
                registration.end();
            } else {
                // Under the lock: the next one to drive finds this waker.
                wakes_task = registration.register(cx.waker(), until);
            }
            self.notify(driver, wakes_task);
            if is_over { Poll::Ready(outcome) } else { Poll::Pending }
        })
        .await
    }

    /// The connection's task: drives it whatever the calls do, and at its deadlines, until it is closed.
    pub(crate) async fn run(&self, mut timer: Pin<Box<dyn Timer>>) {
        let (mut set, mut next_poll): (Option<Instant>, Option<Instant>) = (None, None);
        poll_fn(|cx| {
            self.wakers.set_task(cx.waker());
            loop {
                let now = D::now();
                let mut driver = self.driver.lock();
                driver.drive(now, &mut Context::from_waker(&self.socket_waker));
                let callers = driver.take_notices().callers;
                let (is_closed, deadline) = (driver.is_closed(), driver.deadline());
                drop(driver);
                if callers {
                    self.wakers.wake_callers();
                }
                next_poll = match self.wakers.polled(next_poll.is_none_or(|poll| poll <= now)) {
                    NextPoll::AfterInterval => now.checked_add(POLL_INTERVAL),
                    NextPoll::Unchanged => next_poll,
                    NextPoll::OnWake => None,
                };
                let own = [deadline, next_poll].into_iter().flatten().min();
                match self.wakers.set_timer(own, now) {
                    _ if is_closed => return Poll::Ready(()),
                    None => return Poll::Pending,
                    deadline @ Some(at) if deadline != set => {
                        set = deadline;
                        timer.as_mut().reset(at);
                    }
                    Some(_) => {}
                }
                if timer.as_mut().poll_elapsed(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

impl<D: Drive> Flush for Shared<D> {
    fn flush(self: Arc<Self>) {
        self.with(D::flush);
    }

    fn try_flush(self: Arc<Self>) -> bool {
        let Some(mut driver) = self.driver.try_lock() else { return false };
        driver.flush(&mut Context::from_waker(&self.socket_waker));
        self.notify(driver, false);
        true
    }
}
