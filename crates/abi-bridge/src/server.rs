//! A module as a server: workers with an instance each, and what becomes of a request between HTTP and a guest.

use super::{
    LoadError, Module,
    calls::linker,
    codec::Response as GuestResponse,
    http::{plain, read_request, write_response},
    instance::Instance,
    sessions::{Sessions, cookie_of, set_cookie},
    state::State,
    stores::Stores,
    worker::{HttpResponse, Outcome, Request, Worker},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};
use wasmtime::Linker;
use wasmtime_wasi::p1::WasiP1Ctx;
use websocket_connection::{Endpoint, check_request};

/// Time limit of a request, including its wait in the queue, as a multiple of the callback timeout.
const CALLBACKS_OF_REQUEST: u32 = 6;

/// How long a client may take to send the body of a request.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// What one instance may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its memory, and as many again of its tables.
    pub memory: usize,
    /// How long one call of it may take.
    pub callback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 256 * 1024 * 1024, callback: Duration::from_secs(10) }
    }
}

/// What a server is made of.
pub struct Options {
    /// How the module is called in logs.
    pub name: String,
    /// How many instances there are, at least one. Each has its own memory and sockets.
    pub instances: usize,
    /// What each instance may take.
    pub limits: Limits,
    /// Settings of the sockets; the largest message is also the largest request body. Each instance counts as one
    /// guest. Use a long `receive-wait`: it only controls how often idle sockets are polled.
    pub endpoint: Endpoint,
    /// Where the guest's stores are.
    pub stores: Arc<dyn Stores>,
    /// What each instance gets of WASI.
    pub wasi: Box<dyn Fn() -> WasiP1Ctx + Send + Sync>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { name, instances, limits, endpoint, stores: _, wasi: _ } = self;
        let mut debug = f.debug_struct("Options");
        debug.field("name", name).field("instances", instances).field("limits", limits).field("endpoint", endpoint);
        debug.finish_non_exhaustive()
    }
}

/// Answers requests with a guest, and keeps the sockets that it upgrades them to.
pub struct Server {
    workers: Vec<Worker>,
    blueprint: Arc<Blueprint>,
    endpoint: Endpoint,
    handlers: Vec<&'static str>,
    stop: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Server");
        debug.field("name", &self.blueprint.name).field("instances", &self.workers.len()).finish_non_exhaustive()
    }
}

/// What all instances of a server share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) sessions: Sessions,
    pub(super) stores: Arc<dyn Stores>,
}

/// What instances are made of.
pub(super) struct Blueprint {
    pub(super) name: String,
    pub(super) module: Module,
    linker: Linker<State>,
    wasi: Box<dyn Fn() -> WasiP1Ctx + Send + Sync>,
    shared: Arc<Shared>,
}

impl Blueprint {
    pub(super) async fn instantiate(&self) -> wasmtime::Result<Instance> {
        Instance::start(&self.module, self.linker.clone(), (self.wasi)(), Arc::clone(&self.shared)).await
    }
}

impl Server {
    /// Instantiates the module, and is ready. Must run in a tokio runtime; the module's engine needs
    /// `epoch_interruption`, with the epoch incremented every few milliseconds, for guests that compute to leave
    /// time to others and to be ended.
    ///
    /// # Errors
    /// [`LoadError::Start`] when an instance does not start.
    pub async fn start(module: Module, options: Options) -> Result<Self, LoadError> {
        let Options { name, instances, limits, endpoint, stores, wasi } = options;
        let linker = linker(module.compiled().engine(), module.shape()).map_err(LoadError::Start)?;
        let shared = Arc::new(Shared { limits, sessions: Sessions::default(), stores });
        let handlers = module.handlers();
        let blueprint = Arc::new(Blueprint { name, module, linker, wasi, shared });
        let (stop, stopping) = watch::channel(false);
        let mut workers = Vec::new();
        for number in 0..instances.max(1) {
            let first = blueprint.instantiate().await.map_err(LoadError::Start)?;
            workers.push(Worker::start(number, Arc::clone(&blueprint), first, endpoint.for_guest(), stopping.clone()));
        }
        Ok(Server { workers, blueprint, endpoint, handlers, stop })
    }

    /// Answers a request that hyper received; an upgrade needs its connection to be served with upgrades. `secure`
    /// tells whether it came over TLS. Cancel safe: if dropped while queued, the guest is never
    /// called; if it already runs, its response is discarded.
    pub async fn answer<B>(&self, request: http::Request<B>, secure: bool) -> HttpResponse
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.load()) else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "this server has no instance");
        };
        let mut head = http::Request::from_parts(parts, ());
        let authority = match check_request(&head, secure) {
            Ok(authority) => authority,
            Err(refusal) => return refusal.response(),
        };
        let upgrade = worker.endpoint().upgrade(&mut head, secure);
        if let Err(refusal) = &upgrade
            && refusal.is_final()
        {
            return refusal.response();
        }
        let asked = self.prepare(&head.into_parts().0, authority, body, secure).await;
        let (method, payload, session) = match asked {
            Ok(asked) => asked,
            Err(response) => {
                if let Ok(upgrade) = upgrade {
                    upgrade.decline();
                }
                return response;
            }
        };
        let limit = self.blueprint.shared.limits.callback * CALLBACKS_OF_REQUEST;
        let outcome = worker.ask(|answer| Request { method, payload, session, upgrade, secure, answer });
        match timeout(limit, outcome).await {
            Ok(Some(Outcome::Http(response))) => response,
            Ok(Some(Outcome::Response(response, began_session))) => {
                let response = self.respond(response);
                with_session(response, began_session.as_deref(), secure)
            }
            Ok(None) => plain(StatusCode::SERVICE_UNAVAILABLE, "this server is stopping; try again"),
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the guest is overloaded; try again later"),
        }
    }

    /// The export to call, the payload that it gets, and the session's id.
    async fn prepare<B>(
        &self,
        head: &Parts,
        authority: Option<Authority>,
        body: B,
        secure: bool,
    ) -> Result<(Option<&'static str>, Bytes, Option<String>), HttpResponse>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shape = self.blueprint.module.shape();
        let session = cookie_of(&head.headers).filter(|id| self.blueprint.shared.sessions.get(id).is_some());
        if !shape.answers_requests {
            return Ok((None, Bytes::new(), session));
        }
        let method = self.handler(&head.method).ok_or_else(|| self.not_allowed())?;
        let reading = read_request(head, authority, body, secure, self.endpoint.settings().max_message_size);
        let request = match timeout(BODY_WAIT, reading).await {
            Ok(request) => request.map_err(|refused| refused.response())?,
            Err(_) => return Err(plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time")),
        };
        match request.encode(shape.generation) {
            Some(payload) => Ok((Some(method), payload, session)),
            None => Err(plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "guests of the older generation take text and forms; send one of them",
            )),
        }
    }

    /// The export that answers a method; a `HEAD` is a `GET` without its body.
    fn handler(&self, method: &Method) -> Option<&'static str> {
        let named = |name: &str| self.handlers.iter().copied().find(|handler| *handler == name);
        let own = named(&method.as_str().to_ascii_lowercase());
        own.or_else(|| if *method == Method::HEAD { named("get") } else { None })
    }

    fn not_allowed(&self) -> HttpResponse {
        let allowed = self.handlers.join(", ").to_ascii_uppercase();
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("this server answers {allowed}"));
        response.headers_mut().extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (header::ALLOW, allowed)));
        response
    }

    fn respond(&self, response: GuestResponse) -> HttpResponse {
        write_response(response).unwrap_or_else(|why| {
            tracing::error!("{} gave a response that HTTP does not have: {why}", self.blueprint.name);
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the guest gave a response that HTTP does not have")
        })
    }

    /// Closes every socket with 1001, and waits for the last to end, at most for the close timeout and one call of
    /// the guest. From the first poll on, requests are answered with 503.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let limit = self.endpoint.settings().close_timeout + self.blueprint.shared.limits.callback;
        let ended = async {
            // Every worker holds a receiver for as long as it runs.
            self.stop.closed().await;
            for worker in &self.workers {
                // The sockets of an instance that failed are not the worker's any more.
                worker.endpoint().closed().await;
            }
        };
        if timeout(limit, ended).await.is_err() {
            let limit = humantime::format_duration(limit);
            tracing::warn!("{} did not come to an end within {limit}, and is left", self.blueprint.name);
        }
    }
}

/// Tells the client of a session.
pub(super) fn with_session(mut response: HttpResponse, session: Option<&str>, secure: bool) -> HttpResponse {
    response.headers_mut().extend(session.map(|id| (header::SET_COOKIE, set_cookie(id, secure))));
    response
}
