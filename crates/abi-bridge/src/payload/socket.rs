//! One socket of an instance: a task that brings what the client sends to the instance, and an outbox for what
//! the guest sends, since a guest cannot wait.

use super::{
    codec::{Kind, SocketId},
    worker::{Event, SocketEvent},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};
use tokio::sync::{Notify, mpsc};
use websocket_connection::{CloseInfo, Connection, Error, Message, Upgrade};

impl From<Kind> for Message {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text(text) => Message::Text(text),
            Kind::Binary(data) => Message::Binary(data),
        }
    }
}

/// What waits to be sent to one client. It never makes its caller wait.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Told when something waits that the task is to send.
    waiting: Notify,
    /// Told when the guest has had every message.
    idle: Notify,
    /// Bytes that may wait; one message may be larger.
    bound: usize,
}

#[derive(Default)]
struct State {
    /// There once the handshake is done.
    connection: Option<Arc<Connection>>,
    queue: VecDeque<Message>,
    bytes: usize,
    /// The task is sending what came before the queue.
    sending: bool,
    /// Nothing more is taken: a close is among what was, or the socket is given up.
    closing: bool,
    /// The guest learns no more of the socket.
    given_up: bool,
    /// How many messages are on their way to the guest, or with it.
    unhandled: usize,
}

impl Outbox {
    pub(super) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Outbox { state: Mutex::default(), waiting: Notify::new(), idle: Notify::new(), bound })
    }

    /// Sends a message, or a close, after what was sent before; after a close, nothing. A client for which more
    /// than the bound would wait is given up.
    pub(super) fn send(&self, message: Message) {
        let mut state = self.state.lock();
        if state.closing {
            return;
        }
        state.closing = matches!(message, Message::Close(_));
        let message = match &state.connection {
            Some(connection) if state.queue.is_empty() && !state.sending => match connection.try_send(message) {
                Ok(None) => return,
                Ok(Some(message)) => message,
                Err(error) => return state.refused(&error),
            },
            _ => message,
        };
        if !state.queue.is_empty() && state.bytes.saturating_add(message.len()) > self.bound {
            tracing::info!(bytes = state.bytes, bound = self.bound, "a client reads too slowly, and is closed");
            return state.give_up(1008, "too slow");
        }
        state.push(message);
        self.waiting.notify_one();
    }

    /// Closes at once, and forgets what waits.
    pub(super) fn give_up(&self, code: u16, reason: &str) {
        let mut state = self.state.lock();
        state.give_up(code, reason);
        state.given_up = true;
        self.waiting.notify_one();
        self.idle.notify_one();
    }

    /// Lets what was sent before the handshake was done leave now.
    fn open(&self, connection: &Arc<Connection>) {
        self.state.lock().connection = Some(Arc::clone(connection));
    }

    /// The next message for the task to send; until [`Outbox::sent`] all others wait behind it. Cancel safe.
    async fn next(&self) -> Message {
        loop {
            if let Some(message) = self.state.lock().take() {
                return message;
            }
            self.waiting.notified().await;
        }
    }

    fn sent(&self) {
        self.state.lock().sending = false;
    }

    /// Counts a message to the guest; false where the guest learns no more.
    fn hand_over(&self) -> bool {
        let mut state = self.state.lock();
        state.unhandled += 1;
        !state.given_up
    }

    /// The guest has had a message.
    pub(super) fn handled(&self) {
        let mut state = self.state.lock();
        state.unhandled = state.unhandled.saturating_sub(1);
        if state.unhandled == 0 {
            self.idle.notify_one();
        }
    }

    /// Whether the guest has had every message, or gets no more.
    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.unhandled == 0 || state.given_up
    }

    /// Waits for the guest to have had every message. Cancel safe.
    async fn idle(&self) {
        while !self.is_idle() {
            self.idle.notified().await;
        }
    }
}

impl State {
    fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.len();
        self.sending = true;
        Some(message)
    }

    fn give_up(&mut self, code: u16, reason: &str) {
        self.closing = true;
        self.queue.clear();
        self.bytes = 0;
        let info = CloseInfo { code, reason: Some(reason.to_owned()) };
        match &self.connection {
            Some(connection) => closed(connection, info),
            // The task sends it once the handshake is done.
            None => self.push(Message::Close(info)),
        }
    }

    /// The connection does not take a message: it is over, as the task will see, or the message is too large.
    fn refused(&mut self, error: &Error) {
        if let Error::InvalidMessage(why) = error {
            tracing::warn!(why, "a guest's message cannot be sent, and its socket is closed");
            self.give_up(1011, "a message of the server cannot be sent");
        }
    }
}

/// Closes with a code of this module's, which may be sent.
fn closed(connection: &Connection, info: CloseInfo) {
    if let Err(error) = connection.close(Some(info.code), info.reason) {
        tracing::error!(%error, "a socket cannot be closed");
    }
}

/// Serves one socket to its end, and tells its instance of everything, the end last.
pub(super) async fn serve(id: SocketId, upgrade: Upgrade, outbox: Arc<Outbox>, events: mpsc::Sender<Event>, era: u64) {
    let tell = |what| Event::Socket { id, era, what };
    match upgrade.accept().await {
        Ok(connection) => {
            let connection = Arc::new(connection);
            outbox.open(&connection);
            // Where the instance is gone, so is whoever would be told.
            let _ = events.send(tell(SocketEvent::Opened)).await;
            exchange(&connection, &outbox, &events, &tell).await;
            let _ = events.send(tell(SocketEvent::Closed)).await;
        }
        Err(_) => {
            let _ = events.send(tell(SocketEvent::NotOpened)).await;
        }
    }
}

/// Moves messages both ways until nothing more is received. While one waits to be sent, nothing is received.
async fn exchange(
    connection: &Connection,
    outbox: &Outbox,
    events: &mpsc::Sender<Event>,
    tell: &impl Fn(SocketEvent) -> Event,
) {
    let mut received = None;
    loop {
        while received.is_none()
            && let Some(message) = connection.try_receive()
        {
            match data(message) {
                ControlFlow::Continue(data) => received = data,
                ControlFlow::Break(()) => return,
            }
        }
        tokio::select! {
            message = outbox.next() => {
                // A connection that is over says so when it is next received from.
                if let Err(Error::Timeout) = connection.send(message).await {
                    outbox.give_up(1008, "too slow");
                }
                outbox.sent();
            }
            room = events.reserve(), if received.is_some() => match (room, received.take()) {
                (Ok(room), Some(data)) if outbox.hand_over() => room.send(tell(SocketEvent::Message(data))),
                (Ok(_), _) => {}
                (Err(_), _) => return,
            },
            // Who asks for more has answered what came: a peer that broke the rules after it is told only then.
            () = outbox.idle(), if received.is_none() && !outbox.is_idle() => {}
            next = connection.receive(), if received.is_none() && outbox.is_idle() => match next.map(|next| next.map(data)) {
                Ok(Some(ControlFlow::Continue(data))) => received = data,
                Ok(None) => {}
                Ok(Some(ControlFlow::Break(()))) | Err(_) => return,
            },
        }
    }
}

/// What the guest gets of a message, which is nothing of pings and pongs: the connection answers those.
fn data(message: Message) -> ControlFlow<(), Option<Kind>> {
    match message {
        Message::Text(text) => ControlFlow::Continue(Some(Kind::Text(text))),
        Message::Binary(data) => ControlFlow::Continue(Some(Kind::Binary(data))),
        Message::Ping(_) | Message::Pong(_) => ControlFlow::Continue(None),
        Message::Close(_) => ControlFlow::Break(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(outbox: &Outbox) -> Message {
        let message = outbox.next().await;
        outbox.sent();
        message
    }

    #[tokio::test]
    async fn what_is_sent_before_the_handshake_is_done_waits_in_order_and_nothing_follows_a_close() {
        let outbox = Outbox::new(10);
        let close = Message::Close(CloseInfo { code: 1000, reason: None });
        for message in [Message::Text("a".to_owned()), close.clone(), Message::Text("b".to_owned())] {
            outbox.send(message);
        }
        assert_eq!(next(&outbox).await, Message::Text("a".to_owned()));
        assert_eq!(next(&outbox).await, close);
        assert!(outbox.state.lock().queue.is_empty());
    }

    #[tokio::test]
    async fn giving_up_before_the_handshake_is_done_leaves_one_close() {
        let outbox = Outbox::new(10);
        outbox.send(Message::Text("forgotten".to_owned()));
        outbox.give_up(1011, "why");
        let close = Message::Close(CloseInfo { code: 1011, reason: Some("why".to_owned()) });
        assert_eq!(next(&outbox).await, close);
        assert_eq!(outbox.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn one_message_may_exceed_the_bound_and_a_second_is_too_much() {
        let outbox = Outbox::new(10);
        outbox.send(Message::Binary(vec![0; 100].into()));
        assert!(!outbox.state.lock().closing);
        outbox.send(Message::Binary(vec![0; 1].into()));
        let close = Message::Close(CloseInfo { code: 1008, reason: Some("too slow".to_owned()) });
        assert_eq!(next(&outbox).await, close);
    }
}
