//! Where connections come from: one guest's connections under one host's settings.

#[cfg(feature = "server")]
mod incoming;
mod over;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "server")]
pub use incoming::Incoming;
pub use over::{AcceptConfig, Established};

#[cfg(feature = "tls")]
use crate::open::tls::Tls;
use crate::{
    ConnectConfig, ConnectError, Connection, Error, Metrics, Reason, SettingError, Settings, Step,
    drive::{
        driver::{Driver, Limits},
        timer::{ThreadTimers, Timer, Timers},
        transport::{Permits, TcpConnection, Transport},
    },
    error::connect::Progress,
    observe::record::{Attempt, Warnings},
    open::{
        dial::dial,
        handshake::{Answer, handshake},
        hook::{Destination, Hook},
        opening::Opening,
        policy::Policy,
        request::{Request, Sizes},
    },
};
use bytes::BytesMut;
use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use websocket_protocol::{
    Role,
    deflate::{Compression, MemoryBudget, Offer},
};

/// Opens connections for one guest. Clones speak for the same guest; [`Endpoint::for_guest`] makes one
/// for another guest of the same host.
#[derive(Clone)]
pub struct Endpoint {
    host: Arc<Host>,
    policy: Arc<Policy>,
    /// One permit for each connection of this guest.
    guest: Arc<Semaphore>,
    warnings: Warnings,
}

/// What all guests of a host share.
struct Host {
    settings: Settings,
    #[cfg(feature = "tls")]
    tls: Tls,
    /// One permit for each connection of any guest.
    total: Arc<Semaphore>,
    /// The memory that context takeover may use.
    budget: MemoryBudget,
    metrics: Metrics,
    timers: Arc<dyn Timers>,
}

/// Shows the settings, without the credentials of the proxy.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("settings", &self.host.settings).finish_non_exhaustive()
    }
}

/// A dialled WebSocket before anything drives it.
struct Opened {
    transport: Box<dyn Transport>,
    /// What the peer sent right behind its handshake.
    input: BytesMut,
    opening: Opening,
    compression: Option<Compression>,
    /// Where TCP leads: the server, or the proxy.
    address: Option<SocketAddr>,
    limits: Limits,
    permits: Permits,
}

impl Endpoint {
    /// An endpoint of a new host with these settings. Reads the certificates that they name.
    ///
    /// # Errors
    /// [`SettingError`] for settings that contradict each other and for files that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        Endpoint::with_timers(settings, Arc::new(ThreadTimers))
    }

    /// [`Endpoint::new`] with timers of the embedder's, instead of those of a thread of the process.
    ///
    /// # Errors
    /// Those of [`Endpoint::new`].
    pub fn with_timers(settings: Settings, timers: Arc<dyn Timers>) -> Result<Self, SettingError> {
        settings.validate()?;
        let policy = Arc::new(Policy::new(settings.allow.clone()));
        let host = Arc::new(Host {
            #[cfg(feature = "tls")]
            tls: Tls::new(&settings)?,
            total: Arc::new(Semaphore::new(settings.max_connections_total)),
            budget: MemoryBudget::new(settings.compress_memory),
            metrics: Metrics::default(),
            timers,
            settings,
        });
        let guest = Arc::new(Semaphore::new(host.settings.max_connections));
        Ok(Endpoint { host, policy, guest, warnings: Warnings::default() })
    }

    /// The same endpoint with a policy of the embedder's, which replaces an earlier one. `check` is asked before every dial,
    /// once for each address that the setting `allow` grants: it can deny more, and grant nothing that the setting denies.
    /// It runs within the time limit of the connect, and is dropped with it. Its error is the reason for the guest and for
    /// logs; the connect fails with [`Reason::Denied`] when no address is left.
    ///
    /// ```
    /// # use websocket_connection::{Destination, Endpoint, Settings};
    /// let endpoint = Endpoint::new(Settings::default())?.with_policy(|destination: Destination| async move {
    ///     if destination.secure { Ok(()) } else { Err("this tenant has to use TLS".to_owned()) }
    /// });
    /// # Ok::<(), websocket_connection::SettingError>(())
    /// ```
    #[must_use]
    pub fn with_policy<C, A>(mut self, check: C) -> Self
    where
        C: Fn(Destination) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.policy = Arc::new(self.policy.with_hook(Hook::new(check)));
        self
    }

    /// An endpoint for another guest: the same settings, policy and total, connections counted anew.
    pub fn for_guest(&self) -> Self {
        let guest = Arc::new(Semaphore::new(self.host.settings.max_connections));
        Endpoint {
            host: Arc::clone(&self.host),
            policy: Arc::clone(&self.policy),
            guest,
            warnings: Warnings::default(),
        }
    }

    /// The host's settings.
    pub fn settings(&self) -> &Settings {
        &self.host.settings
    }

    /// What the connections of all guests of this host have done.
    pub fn metrics(&self) -> &Metrics {
        &self.host.metrics
    }

    /// Dials a WebSocket server: policy, DNS, TCP, TLS and opening handshake within one time limit.
    /// Must run in a tokio runtime, which then drives the connection. Cancel safe: a connect that is
    /// dropped leaves nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`] with the [`Reason`]. Its [`Error`] is [`Error::InvalidUrl`] or [`Error::Protocol`] for an
    /// invalid request, before any network use; [`Error::AuthenticationFailed`] where the policy or the server
    /// refuses; [`Error::ConnectionFailed`], [`Error::Protocol`] or [`Error::Timeout`] for what fails on the network.
    pub async fn connect(&self, config: ConnectConfig) -> Result<Connection, ConnectError> {
        let request = Request::new(config, &self.host.settings);
        let destination = request.as_ref().ok().map(Request::destination);
        let attempt = Attempt::begin(&self.host.metrics, &self.warnings, Role::Client, destination);
        let Opened { transport, input, opening, compression, address, limits, permits } =
            match self.dial(request, &attempt).await {
                Ok(opened) => opened,
                Err(failure) => return Err(attempt.failed(failure)),
            };
        let record = attempt.opened(opening.subprotocol.as_deref(), address);
        let driver = Driver::new(transport, input, Role::Client, limits, compression, record);
        Ok(Connection::open(driver, limits, opening, self.timer(), permits))
    }

    /// Dials `host:port` for a byte stream without a WebSocket: the same policy, DNS, proxy, limits and time limit.
    /// A failure is logged and counted as for a WebSocket; a success is only logged. Cancel safe.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`] that come before TLS.
    pub async fn connect_tcp(&self, authority: &str) -> Result<TcpConnection, ConnectError> {
        self.connect_stream("ws", "tcp", authority, async |_, tcp| Ok((tcp.peer_addr().ok(), tcp))).await
    }

    /// Dials, and does over TCP what gives the stream; `scheme` decides what is asked of the policy, and `shown` is logged.
    async fn connect_stream<T>(
        &self,
        scheme: &str,
        shown: &str,
        authority: &str,
        over: impl AsyncFnOnce(&Request, TcpConnection) -> Result<(Option<SocketAddr>, T), ConnectError>,
    ) -> Result<T, ConnectError> {
        let config = ConnectConfig::new(format!("{scheme}://{authority}/"));
        let request = Request::new(config, self.settings());
        let destination = request.as_ref().ok().map(|request| request.destination().replacen(scheme, shown, 1));
        let attempt = Attempt::begin(&self.host.metrics, &self.warnings, Role::Client, destination);
        let dialled = async {
            let request = request.map_err(ConnectError::invalid_request)?;
            let permits = self.permits()?;
            let progress = Progress::default();
            let stream = async {
                let tcp = dial(&request, &self.policy, self.settings(), &progress).await?;
                progress.reach(Step::Tls);
                over(&request, TcpConnection::new(tcp, permits)).await
            };
            timeout(request.timeout, stream).await.map_err(|_| progress.timeout())?
        };
        match dialled.await {
            Ok((address, stream)) => {
                attempt.opened_tcp(address);
                Ok(stream)
            }
            Err(failure) => Err(attempt.failed(failure)),
        }
    }

    /// Waits until every connection of this guest is gone, those included that were dropped and are
    /// closing. Meanwhile none can be opened.
    pub async fn closed(&self) {
        // It fails only for a semaphore that is closed, and this one never is.
        let _ = self.guest.acquire_many(self.host.settings.max_connections as u32).await;
    }

    /// What to offer a server of compression.
    fn offer(&self, request: &Request) -> Option<Offer> {
        request.compress.then(|| Offer::new(self.settings().compression(), &self.host.budget))
    }

    async fn dial(&self, request: Result<Request, Error>, attempt: &Attempt) -> Result<Opened, ConnectError> {
        let mut request = request.map_err(ConnectError::invalid_request)?;
        let permits = self.permits()?;
        let limits = self.limits(request.sizes, request.keepalive);
        let (limit, progress) = (request.timeout, Progress::default());
        let shake_hands = async {
            loop {
                if request.secure && !cfg!(feature = "tls") {
                    return Err(ConnectError::without_tls());
                }
                let tcp = dial(&request, &self.policy, self.settings(), &progress).await?;
                let address = tcp.peer_addr().ok();
                #[cfg(feature = "tls")]
                let mut transport = self.secured(&request, tcp, &progress).await?;
                #[cfg(not(feature = "tls"))]
                let mut transport: Box<dyn Transport> = Box::new(tcp);
                progress.reach(Step::Handshake);
                match handshake(&request, self.offer(&request), &mut transport).await? {
                    Answer::Accepted { subprotocol, headers, compression, input } => {
                        let opening = Opening { url: request.url.into(), subprotocol, headers };
                        return Ok(Opened { transport, input, opening, compression, address, limits, permits });
                    }
                    Answer::Redirected(next) => {
                        attempt.redirected(&next.destination());
                        request = next;
                    }
                }
            }
        };
        timeout(limit, shake_hands).await.map_err(|_| progress.timeout())?
    }

    fn permits(&self) -> Result<Permits, ConnectError> {
        let full = |most: usize, who: &str, setting| {
            let why = format!(
                "{who} already {most} connections, as many as the setting `{setting}` allows; close some first"
            );
            ConnectError::new(Reason::Limit { setting }, Error::ConnectionFailed(why))
        };
        let settings = &self.host.settings;
        // A guest that holds all it may takes nothing of the total, not even for a moment.
        let guest = Arc::clone(&self.guest).try_acquire_owned();
        let guest = guest.map_err(|_| full(settings.max_connections, "this guest holds", "max-connections"))?;
        let total = Arc::clone(&self.host.total).try_acquire_owned();
        let total = total.map_err(|_| {
            full(settings.max_connections_total, "the guests of this host hold", "max-connections-total")
        })?;
        Ok((total, guest))
    }

    /// The limits of a connection that is accepted, or that was opened elsewhere.
    pub(crate) fn accepting_limits(&self, config: &AcceptConfig) -> Limits {
        let Settings { keepalive, keepalive_interval, .. } = self.host.settings;
        let sizes = Sizes::new(config.max_message_size, config.max_frame_size, config.streams, self.settings());
        self.limits(sizes, keepalive.then_some(keepalive_interval))
    }

    /// A timer for one connection.
    pub(crate) fn timer(&self) -> Pin<Box<dyn Timer>> {
        self.host.timers.timer()
    }

    pub(crate) fn limits(&self, sizes: Sizes, keepalive: Option<Duration>) -> Limits {
        let settings = &self.host.settings;
        Limits {
            max_message_size: sizes.max_message_size,
            max_stream_size: sizes.max_stream_size,
            max_frame_size: sizes.max_frame_size,
            fragment_size: settings.fragment_size.unwrap_or(usize::MAX),
            streams: sizes.streams,
            keepalive,
            inbound_buffer: settings.inbound_buffer,
            receive_wait: settings.receive_wait,
            write_timeout: settings.write_timeout,
            close_timeout: settings.close_timeout,
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::{Context, Wake},
        thread,
    };

    fn endpoint(most: &str, total: &str) -> Endpoint {
        let mut settings = Settings::default();
        settings.set("max-connections", most).unwrap();
        settings.set("max-connections-total", total).unwrap();
        Endpoint::new(settings).unwrap()
    }

    /// How many connections the host had room for when this was woken.
    struct Room {
        host: Arc<Host>,
        when_woken: AtomicUsize,
    }

    impl Wake for Room {
        fn wake(self: Arc<Self>) {
            self.when_woken.store(self.host.total.available_permits(), SeqCst);
        }
    }

    #[test]
    fn a_host_has_room_again_when_closed_says_so() {
        let endpoint = endpoint("1", "1");
        let permits = endpoint.permits().ok().unwrap();
        let room = Arc::new(Room { host: Arc::clone(&endpoint.host), when_woken: AtomicUsize::new(usize::MAX) });
        let waker = Arc::clone(&room).into();
        let mut closed = pin!(endpoint.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(permits);
        assert_eq!(room.when_woken.load(SeqCst), 1);
    }

    #[test]
    fn a_guest_at_its_limit_takes_no_room_from_others() {
        const TIMES: usize = 100_000;
        let full = endpoint("1", "2");
        let other = full.for_guest();
        let _held = full.permits().ok().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| (0..TIMES).for_each(|_| assert!(full.permits().is_err())));
            for time in 0..TIMES {
                assert!(other.permits().is_ok(), "refused at {time}");
            }
        });
    }
}
