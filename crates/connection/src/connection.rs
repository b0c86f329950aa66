//! The handle to one open WebSocket: what guests call, by whatever ABI.

use crate::{
    CloseInfo, Error, Message, MessageRef,
    alarm::alarm,
    driver::{Driver, Limits},
    flusher::{Flush, flush_soon},
    wakers::{Look, Place, Wakers},
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{task::coop::consume_budget, time::Instant};
use websocket_protocol::connection::State;

/// The life of a connection, in order; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// A close frame went out or came in, or a send failed because the transport did.
    Closing,
    /// The transport is gone.
    Closed,
}

/// The close frame of a handle that is dropped (RFC 6455 section 7.4.1: going away).
const GOING_AWAY: CloseInfo = CloseInfo { code: 1001, reason: None };

/// How often the task of a busy connection looks whether its callers do what its socket wakes them for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// An open WebSocket.
///
/// A task of the runtime that opened it reads ahead into a bounded buffer, answers pings, keeps the
/// connection alive and completes closing handshakes. Messages sent back to back leave together: when there are 16,
/// 32, 64 and so on, when their sender waits for anything, or half a millisecond later, by a thread that all connections
/// of the process share.
///
/// Dropping the handle, from any thread and with or without a runtime, starts a close with 1001 in the
/// background, which ends within the close timeout.
pub struct Connection {
    shared: Arc<Shared>,
    url: String,
    subprotocol: Option<String>,
}

struct Shared {
    limits: Limits,
    driver: Mutex<Driver>,
    wakers: Arc<Wakers>,
    /// What the socket wakes: [`Wakers`], as a waker.
    socket_waker: Waker,
}

impl Connection {
    /// Takes over a transport whose opening handshake is done. `held` is dropped with the transport.
    pub(crate) fn open(
        driver: Driver,
        limits: Limits,
        url: String,
        subprotocol: Option<String>,
        held: impl Send + 'static,
    ) -> Self {
        let wakers = Arc::new(Wakers::default());
        let socket_waker = Waker::from(Arc::clone(&wakers));
        let driver = Mutex::new(driver);
        let shared = Arc::new(Shared { limits, driver, wakers, socket_waker });
        let task = Task(Arc::clone(&shared));
        tokio::spawn(async move {
            let (_held, task) = (held, task);
            task.0.run().await;
        });
        Connection { shared, url, subprotocol }
    }

    /// Sends one message; [`Message::Close`] is [`Connection::close`]. When it returns, the message is
    /// on its way, in order, and at most 64 KiB of earlier ones had been waiting. While the peer does
    /// not read, it waits. Cancel safe: a send that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] when the message may not be sent, [`Error::ConnectionClosed`] after a
    /// close from either side, [`Error::Timeout`] when the peer did not read for the write timeout;
    /// nothing of the message is sent then. [`Error::Io`] once when the transport failed; what the peer sent before
    /// can still be received.
    pub async fn send(&self, message: Message) -> Result<(), Error> {
        let message = MessageRef::from(&message);
        if self.try_send(message)? {
            return Ok(());
        }
        let sent = self.shared.wait(self.shared.limits.write_timeout, |driver, cx| driver.put_message(message, cx));
        sent.await.unwrap_or_else(|| {
            self.shared.driver.lock().send_timed_out();
            Err(Error::Timeout)
        })
    }

    /// Sends one message as [`Connection::send`] does, unless that would wait; gives whether it did.
    ///
    /// # Errors
    /// Those of [`Connection::send`], but for [`Error::Timeout`].
    pub fn try_send(&self, message: MessageRef<'_>) -> Result<bool, Error> {
        message.check_sendable(self.shared.limits.max_message_size)?;
        if let MessageRef::Close(info) = message {
            self.shared.turn(|driver, cx| driver.close(Some(info), cx));
            return Ok(true);
        }
        let sent = self.shared.turn(|driver, cx| driver.put_message(message, cx));
        sent.map_or(Ok(false), |outcome| outcome.map(|()| true))
    }

    /// Receives the next message, in order, whole and once. Waits up to the receive wait, then gives
    /// `None`. Cancel safe: a receive that is dropped has taken nothing.
    ///
    /// # Errors
    /// After everything that came before, once: [`Error::Io`] when the transport failed,
    /// [`Error::Protocol`] or [`Error::InvalidMessage`] when the peer broke the rules, or
    /// [`Error::Timeout`] when the keep-alive or the closing handshake had no answer. From then on, and
    /// after a close message, [`Error::ConnectionClosed`].
    pub async fn receive(&self) -> Result<Option<Message>, Error> {
        if let Some(outcome) = self.shared.turn(|driver, _| driver.take_message()) {
            return outcome.map(Some);
        }
        let received = self.shared.wait(self.shared.limits.receive_wait, |driver, _| driver.take_message());
        received.await.transpose()
    }

    /// The next message of those that were read ahead; `None` where there is none now, or no more. Unlike
    /// [`Connection::receive`] it says nothing of what came before: that its messages are answered as far as they
    /// will be, so that a peer that broke the rules after them can be told.
    pub fn try_receive(&self) -> Option<Message> {
        self.shared.turn(|driver, _| driver.take_read())
    }

    /// Sends a close frame and returns; the handshake completes in the background. A reason without a
    /// code uses 1000; neither sends a frame without a code. After a close from either side it does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a code that may not be sent (RFC 6455 section 7.4) or a reason over
    /// 123 bytes.
    pub fn close(&self, code: Option<u16>, reason: Option<String>) -> Result<(), Error> {
        let info = match (code, reason) {
            (None, None) => None,
            (code, reason) => Some(CloseInfo { code: code.unwrap_or(1000), reason }),
        };
        info.as_ref().map_or(Ok(()), CloseInfo::check_sendable)?;
        self.shared.turn(|driver, cx| driver.close(info.as_ref(), cx));
        Ok(())
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> ConnectionState {
        match self.shared.driver.lock().state() {
            State::Open => ConnectionState::Open,
            State::Closing => ConnectionState::Closing,
            State::Closed => ConnectionState::Closed,
        }
    }

    /// The URL that was dialled, without credentials; for an accepted connection, the request's target.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.turn(|driver, cx| driver.abandon(&GOING_AWAY, cx));
    }
}

impl Shared {
    /// Lets `act` have the driver, then wakes whom that concerns.
    fn turn<R>(self: &Arc<Self>, act: impl FnOnce(&mut Driver, &mut Context<'_>) -> R) -> R {
        let mut driver = self.driver.lock();
        let outcome = act(&mut driver, &mut Context::from_waker(&self.socket_waker));
        self.notify(driver);
        outcome
    }

    fn notify(self: &Arc<Self>, mut driver: MutexGuard<'_, Driver>) {
        let notices = driver.take_notices();
        drop(driver);
        if notices.waiters {
            self.wakers.wake_callers();
        }
        if notices.task {
            self.wakers.wake_task();
        }
        if notices.flush {
            flush_soon(Arc::clone(self) as Arc<dyn Flush>);
        }
    }

    /// Waits until `attempt` has an outcome, up to a limit, and drives the connection meanwhile.
    async fn wait<R>(
        self: &Arc<Self>,
        limit: Duration,
        mut attempt: impl FnMut(&mut Driver, &mut Context<'_>) -> Option<R>,
    ) -> Option<R> {
        let mut until = None;
        let mut place = Place::new(&self.wakers);
        let outcome = poll_fn(|cx| {
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| now.checked_add(limit));
            let mut socket = Context::from_waker(&self.socket_waker);
            let mut driver = self.driver.lock();
            driver.drive(now, &mut socket);
            let outcome = attempt(&mut driver, &mut socket);
            let is_over = outcome.is_some() || until.is_some_and(|until| until <= now);
            if is_over {
                place.leave();
            } else if place.wait(cx.waker(), until) {
                // Under the driver's lock: whoever drives next finds this waker.
                driver.wake_task();
            }
            self.notify(driver);
            if is_over { Poll::Ready(outcome) } else { Poll::Pending }
        })
        .await;
        if outcome.is_none() {
            // Whoever asks again and again, and never waits, must let others have a turn.
            consume_budget().await;
        }
        outcome
    }

    /// The connection's task: drives it whatever its callers do, and at its deadlines.
    async fn run(&self) {
        let mut alarm = pin!(alarm());
        let mut next_look: Option<Instant> = None;
        poll_fn(|cx| {
            self.wakers.set_task(cx.waker());
            loop {
                let now = Instant::now();
                let mut driver = self.driver.lock();
                driver.drive(now, &mut Context::from_waker(&self.socket_waker));
                let waiters = driver.take_notices().waiters;
                let (closed, deadline) = (driver.state() == State::Closed, driver.deadline());
                drop(driver);
                if waiters {
                    self.wakers.wake_callers();
                }
                next_look = match self.wakers.look(next_look.is_none_or(|look| look <= now)) {
                    Look::Again => now.checked_add(LOOK_INTERVAL),
                    Look::AsBefore => next_look,
                    Look::WhenWoken => None,
                };
                let own = [deadline, next_look].into_iter().flatten().min();
                match self.wakers.set_alarm(own, now) {
                    _ if closed => return Poll::Ready(()),
                    None => return Poll::Pending,
                    Some(deadline) if deadline != alarm.deadline() => alarm.as_mut().reset(deadline),
                    Some(_) => {}
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

impl Flush for Shared {
    fn flush(self: Arc<Self>) {
        self.turn(Driver::flush);
    }

    fn try_flush(self: Arc<Self>) -> bool {
        let Some(mut driver) = self.driver.try_lock() else { return false };
        driver.flush(&mut Context::from_waker(&self.socket_waker));
        self.notify(driver);
        true
    }
}

/// Whatever ends the connection's task, a runtime that shuts down before it ever ran included, ends the
/// connection.
struct Task(Arc<Shared>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.turn(|driver, _| driver.stop());
    }
}
