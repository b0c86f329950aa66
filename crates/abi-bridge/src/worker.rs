//! One worker: the task that has an instance to itself, and makes its calls one after the other.

use super::{
    codec::{Kind, Response, SocketId},
    http::plain,
    instance::{Answer, Instance},
    server::{Blueprint, with_session},
    socket::{self, Bounds, Outbox, Outgoing},
    state::Socket,
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use websocket_connection::{CloseInfo, Endpoint, Refusal, Upgrade};

/// How long an instance waits for clients that do not take what it sent, before they are closed.
const SLOW_WAIT: Duration = Duration::from_secs(1);
/// Events that may wait for the instance; who has more to tell waits as well.
const QUEUE: usize = 64;

pub(super) type HttpResponse = http::Response<Full<Bytes>>;

/// What happens to an instance.
pub(super) enum Event {
    Request(Box<Request>),
    Socket {
        id: SocketId,
        /// Which of the worker's instances it belongs to.
        era: u64,
        what: SocketEvent,
    },
}

pub(super) enum SocketEvent {
    Opened,
    NotOpened,
    Message(Kind),
    Closed,
}

/// A request, for one answer.
pub(super) struct Request {
    /// The export that answers; none where the module is only for sockets.
    pub(super) method: Option<&'static str>,
    pub(super) payload: Bytes,
    pub(super) session: Option<String>,
    pub(super) upgrade: Result<Upgrade, Refusal>,
    /// Whether it came over TLS.
    pub(super) secure: bool,
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// What becomes of a request.
pub(super) enum Outcome {
    /// Answer it so, and tell the client of the session that began.
    Response(Response, Option<String>),
    /// Answer it so.
    Http(HttpResponse),
}

/// A worker, as its server sees it.
pub(super) struct Worker {
    events: mpsc::Sender<Event>,
    /// Where its sockets are counted.
    endpoint: Endpoint,
    load: Arc<Load>,
}

#[derive(Default)]
struct Load {
    requests: AtomicUsize,
    sockets: AtomicUsize,
}

impl Worker {
    /// Starts with an instance that runs already. `stop` turns true once.
    pub(super) fn start(
        number: usize,
        blueprint: Arc<Blueprint>,
        first: Instance,
        endpoint: Endpoint,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (events, queue) = mpsc::channel(QUEUE);
        let load = Arc::new(Load::default());
        let work = Work {
            number,
            blueprint,
            instance: Some(first),
            era: 0,
            next_id: 0,
            events: events.clone(),
            load: Arc::clone(&load),
            bounds: Bounds {
                soft: endpoint.settings().inbound_buffer,
                hard: endpoint.settings().inbound_buffer.max(endpoint.settings().max_message_size),
            },
            stopping: false,
        };
        tokio::spawn(work.run(queue, stop));
        Worker { events, endpoint, load }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How busy it is: requests first, then sockets.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.load.requests.load(Relaxed), self.load.sockets.load(Relaxed))
    }

    /// Has a request answered; none once the worker has stopped. Cancel safe: a request that nobody waits for any
    /// more is not begun.
    pub(super) async fn ask(&self, request: impl FnOnce(oneshot::Sender<Outcome>) -> Request) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        let _counted = Counted::new(&self.load);
        self.events.send(Event::Request(Box::new(request(answer)))).await.ok()?;
        outcome.await.ok()
    }
}

/// Counts a request for as long as it is there.
struct Counted<'a>(&'a Load);

impl<'a> Counted<'a> {
    fn new(load: &'a Load) -> Self {
        load.requests.fetch_add(1, Relaxed);
        Counted(load)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

struct Work {
    number: usize,
    blueprint: Arc<Blueprint>,
    /// None after it failed, until it is next needed.
    instance: Option<Instance>,
    /// Counts the instances.
    era: u64,
    /// Where the host chooses the numbers of sockets.
    next_id: SocketId,
    /// For the tasks of sockets.
    events: mpsc::Sender<Event>,
    load: Arc<Load>,
    /// What may wait for one client.
    bounds: Bounds,
    stopping: bool,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Event>, mut stop: watch::Receiver<bool>) {
        loop {
            if self.stopping && self.instance.as_mut().is_none_or(|instance| instance.sockets().is_empty()) {
                return;
            }
            tokio::select! {
                () = asked_to_stop(&mut stop), if !self.stopping => self.stop(),
                Some(event) = queue.recv() => {
                    self.handle(event).await;
                    self.wait_for_clients().await;
                }
            }
            let sockets = self.instance.as_mut().map_or(0, |instance| instance.sockets().len());
            self.load.sockets.store(sockets, Relaxed);
        }
    }

    /// A guest cannot wait, so its host does: for a moment it makes no call that could send even more.
    async fn wait_for_clients(&mut self) {
        let full = self.instance.as_mut().map(Instance::take_full).unwrap_or_default();
        let deadline = Instant::now() + SLOW_WAIT;
        for outbox in full {
            if timeout_at(deadline, outbox.relieved()).await.is_err() {
                outbox.too_slow();
            }
        }
    }

    /// Closes every socket, and answers no request any more.
    fn stop(&mut self) {
        self.stopping = true;
        for socket in self.instance.iter_mut().flat_map(|instance| instance.sockets().values()) {
            socket.outbox.send(Outgoing::Close(CloseInfo { code: 1001, reason: None }));
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Request(request) if request.answer.is_closed() => {}
            Event::Request(request) => self.request(*request).await,
            Event::Socket { era, .. } if era != self.era => {}
            Event::Socket { id, what, .. } => {
                let Some(instance) = &mut self.instance else { return };
                let outcome = match what {
                    SocketEvent::Opened => instance.opened(id).await,
                    SocketEvent::Message(kind) => instance.message(id, kind).await,
                    SocketEvent::Closed => instance.closed(id).await,
                    SocketEvent::NotOpened => {
                        instance.sockets().remove(&id);
                        Ok(())
                    }
                };
                if let Err(error) = outcome {
                    self.failed(&error);
                }
            }
        }
    }

    async fn request(&mut self, request: Request) {
        let Request { method, payload, session, upgrade, secure, answer } = request;
        let outcome = if self.stopping {
            Outcome::Http(plain(StatusCode::SERVICE_UNAVAILABLE, "this server is stopping; try again"))
        } else {
            match self.answer(method, payload, session).await {
                Ok(Answer { response: Response::Upgrade(id), session, began_session }) => {
                    let response = self.upgrade(id, session, upgrade);
                    Outcome::Http(with_session(response, began_session.as_deref(), secure))
                }
                Ok(Answer { response, began_session, .. }) => {
                    if let Ok(upgrade) = upgrade {
                        upgrade.decline();
                    }
                    Outcome::Response(response, began_session)
                }
                Err(error) => {
                    self.failed(&error);
                    Outcome::Http(plain(StatusCode::INTERNAL_SERVER_ERROR, "the guest failed; its host's log says how"))
                }
            }
        };
        // Nobody takes it if the client went away meanwhile.
        let _ = answer.send(outcome);
    }

    async fn answer(
        &mut self,
        method: Option<&str>,
        payload: Bytes,
        session: Option<String>,
    ) -> wasmtime::Result<Answer> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            None => {
                let started = self.blueprint.instantiate().await?;
                self.instance.insert(started)
            }
        };
        match method {
            Some(method) => instance.respond(method, payload, session).await,
            None => {
                while instance.sockets().contains_key(&self.next_id) {
                    self.next_id = self.next_id.wrapping_add(1);
                }
                let id = self.next_id;
                self.next_id = self.next_id.wrapping_add(1);
                Ok(Answer { response: Response::Upgrade(id), session, began_session: None })
            }
        }
    }

    /// Has the request become the socket of this number.
    fn upgrade(&mut self, id: SocketId, session: Option<String>, upgrade: Result<Upgrade, Refusal>) -> HttpResponse {
        let mut upgrade = match upgrade {
            Ok(upgrade) => upgrade,
            Err(refusal) => return refusal.response(),
        };
        let sockets = self.instance.as_mut().map(Instance::sockets);
        let wrong = match &sockets {
            None => Some("the guest failed"),
            Some(_) if !self.blueprint.module.shape().has_sockets => Some("the guest has no callbacks for sockets"),
            Some(sockets) if sockets.contains_key(&id) => Some("the guest chose the number of a socket that is open"),
            Some(_) => None,
        };
        let (Some(sockets), None) = (sockets, wrong) else {
            upgrade.decline();
            let why = wrong.unwrap_or_default();
            tracing::error!(instance = self.number, id, "a request of {} is not upgraded: {why}", self.blueprint.name);
            return plain(StatusCode::INTERNAL_SERVER_ERROR, why);
        };
        // The guest cannot choose, and a browser that offers some takes no answer without one.
        if let Some(first) = upgrade.subprotocols().first().cloned() {
            upgrade.choose(&first);
        }
        let response = upgrade.response();
        let outbox = Outbox::new(self.bounds);
        sockets.insert(id, Socket { outbox: Arc::clone(&outbox), session });
        // Before the client can know, and come again.
        self.load.sockets.store(sockets.len(), Relaxed);
        tokio::spawn(socket::serve(id, upgrade, outbox, self.events.clone(), self.era));
        response
    }

    /// The instance is not called again; the next that needs one gets a new one.
    fn failed(&mut self, error: &wasmtime::Error) {
        let mut instance = self.instance.take();
        let sockets: Vec<Socket> =
            instance.iter_mut().flat_map(|instance| instance.sockets().drain()).map(|(_, socket)| socket).collect();
        tracing::error!(
            instance = self.number,
            sockets = sockets.len(),
            "{} failed {error:#}; its sockets close with 1011, and a new instance takes its place",
            self.blueprint.name
        );
        for socket in sockets {
            socket.outbox.give_up(1011, "the guest failed");
        }
        self.era += 1;
        self.next_id = 0;
    }
}

/// A server that is gone stops its workers as well.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
