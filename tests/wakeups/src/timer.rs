//! The interface of timers, a timer that never elapses, and one that a test lets elapse.

use crate::sync::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

pub(crate) trait Timer: Send + 'static {
    fn reset(self: Pin<&mut Self>, deadline: Instant);
    fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

/// Never elapses: whatever is to happen must be caused by a wake-up.
pub(crate) struct Never;

impl Timer for Never {
    fn reset(self: Pin<&mut Self>, _: Instant) {}

    fn poll_elapsed(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Elapses when [`Manual::elapse`] is called, if it was set.
#[derive(Default, Clone)]
pub(crate) struct Manual(Arc<Mutex<ManualState>>);

#[derive(Default)]
struct ManualState {
    is_set: bool,
    has_elapsed: bool,
    waker: Option<Waker>,
}

impl Manual {
    pub(crate) fn elapse(&self) {
        let mut state = self.0.lock();
        state.has_elapsed = state.is_set;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Timer for Manual {
    fn reset(self: Pin<&mut Self>, _: Instant) {
        let mut state = self.0.lock();
        (state.is_set, state.has_elapsed) = (true, false);
    }

    fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.has_elapsed {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
