//! One socket of an instance: a task that brings what the client sends to the instance, and an outbox for what
//! the guest sends, since a guest cannot wait.

use super::{
    codec::{Kind, SocketId},
    worker::{Event, SocketEvent},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};
use tokio::sync::{Notify, mpsc};
use websocket_connection::{CloseInfo, Connection, Error, Message, MessageRef, PreparedMessage, Upgrade};

/// A message or a close frame to one client.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// A message, which may be sent to others as well.
    Message(PreparedMessage),
    /// A close frame, which is the last.
    Close(CloseInfo),
}

impl Outgoing {
    /// Bytes of its payload.
    fn len(&self) -> usize {
        match self {
            Outgoing::Message(message) => message.payload().len(),
            Outgoing::Close(info) => MessageRef::Close(info).len(),
        }
    }

    fn try_send(&self, connection: &Connection) -> Result<bool, Error> {
        match self {
            Outgoing::Message(message) => connection.try_send_prepared(message),
            Outgoing::Close(info) => connection.try_send(MessageRef::Close(info)),
        }
    }

    async fn send(&self, connection: &Connection) -> Result<(), Error> {
        match self {
            Outgoing::Message(message) => connection.send_prepared(message).await,
            Outgoing::Close(info) => connection.send(MessageRef::Close(info)).await,
        }
    }
}

/// What waits to be sent to one client. It never makes its caller wait.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Told when something waits that the task is to send.
    waiting: Notify,
    /// Told when less waits than before, on either way.
    relieved: Notify,
    bounds: Bounds,
}

/// Bytes that may wait for one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Beyond this, whoever has more for it should wait.
    pub(super) soft: usize,
    /// Beyond this, the client is given up, one message excepted.
    pub(super) hard: usize,
}

#[derive(Default)]
struct State {
    /// There once the handshake is done.
    connection: Option<Arc<Connection>>,
    queue: VecDeque<Outgoing>,
    /// Bytes of the queue, and of the message that the task is sending.
    bytes: usize,
    /// The task is sending what came before the queue.
    sending: bool,
    /// Nothing more is taken: a close is among what was, or the socket is given up.
    closing: bool,
    /// The guest learns no more of the socket.
    given_up: bool,
    /// What is on its way to the guest, or with it, one for each message added to its bytes.
    unhandled: usize,
}

impl Outbox {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Outbox { state: Mutex::default(), waiting: Notify::new(), relieved: Notify::new(), bounds })
    }

    /// Sends a message, or a close, after what was sent before; after a close, nothing. Whether more should wait
    /// until this one is [`Outbox::relieved`].
    pub(super) fn send(&self, message: Outgoing) -> bool {
        let mut state = self.state.lock();
        if state.closing {
            return false;
        }
        state.closing = matches!(message, Outgoing::Close(_));
        if let Some(connection) = &state.connection
            && state.queue.is_empty()
            && !state.sending
        {
            match message.try_send(connection) {
                Ok(true) => return false,
                Ok(false) => {}
                Err(error) => {
                    state.refused(&error);
                    return false;
                }
            }
        }
        if state.bytes > 0 && state.bytes.saturating_add(message.len()) > self.bounds.hard {
            state.too_slow();
            return false;
        }
        state.push(message);
        self.waiting.notify_one();
        state.bytes > self.bounds.soft
    }

    /// Waits until no more than the soft bound waits for the client, or nothing more is taken. Cancel safe.
    pub(super) async fn relieved(&self) {
        self.relief(|state| state.closing || state.bytes <= self.bounds.soft).await;
    }

    /// Closes a client that has not been relieved in time.
    pub(super) fn too_slow(&self) {
        let mut state = self.state.lock();
        if !state.closing && state.bytes > self.bounds.soft {
            state.too_slow();
        }
    }

    /// Closes at once, and forgets what waits; the guest learns no more.
    pub(super) fn give_up(&self, code: u16, reason: &str) {
        let mut state = self.state.lock();
        state.give_up(code, reason);
        state.given_up = true;
        self.waiting.notify_one();
        self.relieved.notify_waiters();
    }

    /// Lets what was sent before the handshake was done leave now.
    fn open(&self, connection: &Arc<Connection>) {
        self.state.lock().connection = Some(Arc::clone(connection));
    }

    /// The next message for the task to send; until [`Outbox::sent`] all others wait behind it. Cancel safe.
    async fn next(&self) -> Outgoing {
        loop {
            if let Some(message) = self.state.lock().take() {
                return message;
            }
            self.waiting.notified().await;
        }
    }

    /// A message of this length has left, or never will.
    fn sent(&self, length: usize) {
        let mut state = self.state.lock();
        state.sending = false;
        state.bytes = state.bytes.saturating_sub(length);
        self.relieved.notify_waiters();
    }

    /// Counts a message to the guest; false where the guest learns no more.
    fn hand_over(&self, length: usize) -> bool {
        let mut state = self.state.lock();
        state.unhandled += 1 + length;
        !state.given_up
    }

    /// The guest has had a message of this length.
    pub(super) fn handled(&self, length: usize) {
        let mut state = self.state.lock();
        state.unhandled = state.unhandled.saturating_sub(1 + length);
        self.relieved.notify_waiters();
    }

    /// Waits until a guest that sends back what it gets can have a message of this length. Cancel safe.
    async fn room_for(&self, length: usize) {
        let fits = |held: usize| held == 0 || held.saturating_add(length) <= self.bounds.soft;
        self.relief(|state| state.given_up || fits(state.bytes + state.unhandled)).await;
    }

    /// Whether the guest has had every message, or gets no more.
    fn is_idle(&self) -> bool {
        self.state.lock().is_idle()
    }

    /// Waits for the guest to have had every message. Cancel safe.
    async fn idle(&self) {
        self.relief(State::is_idle).await;
    }

    async fn relief(&self, enough: impl Fn(&State) -> bool) {
        loop {
            let relieved = self.relieved.notified();
            if enough(&self.state.lock()) {
                return;
            }
            relieved.await;
        }
    }
}

impl State {
    fn push(&mut self, message: Outgoing) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    fn take(&mut self) -> Option<Outgoing> {
        let message = self.queue.pop_front()?;
        self.sending = true;
        Some(message)
    }

    fn is_idle(&self) -> bool {
        self.unhandled == 0 || self.given_up
    }

    fn too_slow(&mut self) {
        tracing::info!(bytes = self.bytes, "a client reads too slowly, and is closed with 1008");
        self.give_up(1008, "too slow");
    }

    fn give_up(&mut self, code: u16, reason: &str) {
        self.closing = true;
        self.bytes -= self.queue.drain(..).map(|message| message.len()).sum::<usize>();
        let info = CloseInfo { code, reason: Some(reason.to_owned()) };
        match &self.connection {
            Some(connection) => closed(connection, info),
            // The task sends it once the handshake is done.
            None => self.push(Outgoing::Close(info)),
        }
    }

    /// The connection does not take a message: it is over, as the task will see, or the message is too large.
    fn refused(&mut self, error: &Error) {
        if let Error::InvalidMessage(why) = error {
            tracing::warn!(why, "a guest's message cannot be sent, and its socket is closed with 1011");
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
                let length = message.len();
                // A connection that is over says so when it is next received from.
                if let Err(Error::Timeout) = message.send(connection).await {
                    outbox.give_up(1008, "too slow");
                }
                outbox.sent(length);
            }
            room = room(outbox, events, received.as_ref()), if received.is_some() => match (room, received.take()) {
                (Ok(room), Some(data)) if outbox.hand_over(data.len()) => room.send(tell(SocketEvent::Message(data))),
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

/// Waits for room for a message: for what the guest may answer, and among what waits for the instance.
async fn room<'a>(
    outbox: &Outbox,
    events: &'a mpsc::Sender<Event>,
    received: Option<&Kind>,
) -> Result<mpsc::Permit<'a, Event>, mpsc::error::SendError<()>> {
    outbox.room_for(received.map_or(0, Kind::len)).await;
    events.reserve().await
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
    use bytes::Bytes;
    use futures_util::FutureExt;
    use websocket_connection::{ConnectConfig, Endpoint, MessageKind, Settings};

    /// The next message, once it is sent.
    async fn next(outbox: &Outbox) -> Message {
        let message = outbox.next().await;
        outbox.sent(message.len());
        match message {
            Outgoing::Message(message) if message.kind() == MessageKind::Binary => {
                Message::Binary(message.payload().clone())
            }
            Outgoing::Message(message) => Message::Text(String::from_utf8(message.payload().to_vec()).unwrap()),
            Outgoing::Close(info) => Message::Close(info),
        }
    }

    fn text(text: &str) -> Outgoing {
        Outgoing::Message(PreparedMessage::text(text))
    }

    fn binary(length: usize) -> Outgoing {
        Outgoing::Message(PreparedMessage::binary(vec![0; length]))
    }

    #[tokio::test]
    async fn what_is_sent_before_the_handshake_is_done_waits_in_order_and_nothing_follows_a_close() {
        let outbox = Outbox::new(Bounds { soft: 5, hard: 10 });
        let close = CloseInfo { code: 1000, reason: None };
        for message in [text("a"), Outgoing::Close(close.clone()), text("b")] {
            outbox.send(message);
        }
        assert_eq!(next(&outbox).await, Message::Text("a".to_owned()));
        assert_eq!(next(&outbox).await, Message::Close(close));
        assert!(outbox.state.lock().queue.is_empty());
    }

    #[tokio::test]
    async fn giving_up_before_the_handshake_is_done_leaves_one_close() {
        let outbox = Outbox::new(Bounds { soft: 5, hard: 10 });
        outbox.send(text("forgotten"));
        outbox.give_up(1011, "why");
        let close = Message::Close(CloseInfo { code: 1011, reason: Some("why".to_owned()) });
        assert_eq!(next(&outbox).await, close);
        assert_eq!(outbox.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn one_message_may_exceed_the_bound_and_a_second_is_too_much() {
        let outbox = Outbox::new(Bounds { soft: 5, hard: 10 });
        assert!(outbox.send(binary(100)), "more should wait");
        outbox.send(binary(1));
        let close = Message::Close(CloseInfo { code: 1008, reason: Some("too slow".to_owned()) });
        assert_eq!(next(&outbox).await, close);
    }

    #[tokio::test]
    async fn an_outbox_is_relieved_by_what_leaves() {
        let outbox = Outbox::new(Bounds { soft: 5, hard: 10 });
        assert!(!outbox.send(binary(4)));
        assert!(outbox.send(binary(5)));
        let mut relieved = std::pin::pin!(outbox.relieved());
        assert!(futures_util::poll!(&mut relieved).is_pending());
        let first = outbox.next().await;
        assert!(futures_util::poll!(&mut relieved).is_pending(), "it has not left yet");
        outbox.sent(first.len());
        assert!(futures_util::poll!(&mut relieved).is_ready());
        outbox.too_slow();
        assert_eq!(next(&outbox).await, Message::Binary(vec![0; 5].into()), "it is not");
    }

    #[tokio::test]
    async fn a_guest_that_sends_back_what_it_gets_gets_no_more_than_its_client_takes() {
        let outbox = Outbox::new(Bounds { soft: 5, hard: 10 });
        let room_for = |length| outbox.room_for(length).now_or_never().is_some();
        assert!(room_for(100), "one message may be larger");
        outbox.hand_over(2);
        assert!(!outbox.is_idle());
        assert!(room_for(2) && !room_for(3));
        outbox.send(binary(2));
        outbox.handled(2);
        assert!(outbox.is_idle());
        assert!(room_for(3) && !room_for(4));
    }

    #[tokio::test]
    async fn a_message_to_many_clients_is_compressed_once() {
        let mut settings = Settings::default();
        settings.set("compress", "true").unwrap();
        let endpoint = Endpoint::new(settings).unwrap();
        let message = PreparedMessage::text("compressible ".repeat(100));
        let (mut clients, mut outboxes) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let (near, far) = tokio::io::duplex(1 << 16);
            let accept = async { endpoint.accept_over(far, Bytes::new(), false).await?.accept().await };
            let config = ConnectConfig::new("ws://localhost/");
            let (client, server) = tokio::join!(endpoint.connect_over(near, config), accept);
            let outbox = Outbox::new(Bounds { soft: 10_000, hard: 10_000 });
            outbox.open(&Arc::new(server.unwrap()));
            clients.push(client.unwrap());
            outboxes.push(outbox);
        }
        for outbox in &outboxes {
            outbox.send(text("before"));
            outbox.send(Outgoing::Message(message.clone()));
            outbox.send(text("after"));
        }
        for client in &clients {
            for expected in ["before", &"compressible ".repeat(100), "after"] {
                assert_eq!(client.receive().await.unwrap(), Some(Message::Text(expected.to_owned())));
            }
        }
        assert_eq!(message.compressions(), 1);
    }
}
