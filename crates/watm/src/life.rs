//! The life of one connection through a transport: a fresh instance, its opening, its worker, its end.

use super::{
    Module, Transport,
    descriptors::Descriptors,
    host, preview1,
    state::{Dial, State},
    stream::{Closing, Stream},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    sync::watch,
    task::{JoinError, JoinHandle, JoinSet},
    time::{Instant, timeout},
};
use wasmtime::{InstancePre, Linker, Result, Store, StoreLimitsBuilder, Val};
use wasmtime_wasi::I32Exit;

/// What a transport returns when it was cancelled, and when its peer has gone.
const CANCELLED: i32 = -11;
const PEER_GONE: i32 = -64;
/// How many tables an instance may have.
const MAX_TABLES: usize = 4;

/// What one instance may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its memory, and of its tables.
    pub memory: usize,
    /// How long it may take until its worker runs, the network's dialling included.
    pub opening: Duration,
    /// How long one of its writes may wait for a peer that does not read.
    pub writing: Duration,
    /// How long its streams may take to end once it has closed them, or its worker has returned: to send what it wrote,
    /// and for WebSockets to close.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 256 * 1024 * 1024,
            opening: Duration::from_secs(60),
            writing: Duration::from_secs(30),
            closing: Duration::from_secs(10),
        }
    }
}

/// How instances are made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What `pull_config` gives.
    pub config: Option<Bytes>,
    /// What each may take.
    pub limits: Limits,
}

/// A role that a module cannot play, or cannot be linked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// It lacks the role's export.
    #[error("it cannot {role}, since it does not export `{export}`; it can {roles}")]
    Missing {
        /// The role.
        role: &'static str,
        /// Its export.
        export: &'static str,
        /// What it can do.
        roles: super::Roles,
    },
    /// The host fails.
    #[error("it cannot be linked: {0:#}")]
    Link(wasmtime::Error),
}

/// Why a connection through a transport ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A call gave a negative number.
    #[error("`{call}` of the transport gave {code}{}", .dial_failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Refused {
        /// The export.
        call: &'static str,
        /// What it gave: mostly an error number of WASI preview 1, negative.
        code: i32,
        /// Why the network could not be dialled meanwhile, where it could not.
        dial_failure: Option<String>,
    },
    /// A call trapped, or ended the transport.
    #[error("`{call}` of the transport failed: {cause}")]
    Failed {
        /// The export, or `instantiation`.
        call: &'static str,
        /// The trap.
        cause: String,
    },
    /// It did not open in time.
    #[error("the transport did not open within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// It had to be dropped: its worker did not return in time after it was cancelled.
    #[error("the transport did not return within {} after it was cancelled", humantime::format_duration(*.0))]
    NotCancelled(Duration),
}

/// How a connection through a transport ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its worker returned 0.
    Normal,
    /// It was cancelled.
    Cancelled,
    /// Its peer had gone.
    PeerGone,
    /// Its worker returned this.
    Code(i32),
}

/// Connects callers to the network.
#[derive(Debug)]
pub struct Dialer(Blueprint);

/// Connects the network to callers.
#[derive(Debug)]
pub struct Listener(Blueprint);

/// Connects the network to the network.
#[derive(Debug)]
pub struct Relay(Blueprint);

struct Blueprint {
    pre: InstancePre<State>,
    options: Options,
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer, if the module can be one.
    ///
    /// # Errors
    /// [`RoleError`].
    pub fn new(module: &Module, options: Options) -> Result<Self, RoleError> {
        Blueprint::new(module, options, "dial", "_water_dial", module.roles().dial).map(Dialer)
    }

    /// Opens a connection for a caller; `dial` is called when the transport asks for the network. Must run in a
    /// tokio runtime. Cancel safe: dropped, it leaves nothing behind.
    ///
    /// # Errors
    /// [`RunError`], all but [`RunError::NotCancelled`].
    pub async fn open(
        &self,
        caller: impl Transport,
        dial: impl FnMut() -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + 'static,
    ) -> Result<Running, RunError> {
        self.0.open("_water_dial", Some(Box::new(caller)), Some(Box::new(dial)), None).await
    }
}

impl Listener {
    /// A listener, if the module can be one.
    ///
    /// # Errors
    /// [`RoleError`].
    pub fn new(module: &Module, options: Options) -> Result<Self, RoleError> {
        Blueprint::new(module, options, "listen", "_water_accept", module.roles().accept).map(Listener)
    }

    /// Opens a connection that has come from the network, for a caller. As [`Dialer::open`].
    ///
    /// # Errors
    /// [`RunError`], all but [`RunError::NotCancelled`].
    pub async fn open(&self, caller: impl Transport, accepted: impl Transport) -> Result<Running, RunError> {
        self.0.open("_water_accept", Some(Box::new(caller)), None, Some(Box::new(accepted))).await
    }
}

impl Relay {
    /// A relay, if the module can be one.
    ///
    /// # Errors
    /// [`RoleError`].
    pub fn new(module: &Module, options: Options) -> Result<Self, RoleError> {
        Blueprint::new(module, options, "relay", "_water_associate", module.roles().relay).map(Relay)
    }

    /// Joins a connection that has come from the network with one that `dial` opens. As [`Dialer::open`].
    ///
    /// # Errors
    /// [`RunError`], all but [`RunError::NotCancelled`].
    pub async fn open(
        &self,
        accepted: impl Transport,
        dial: impl FnMut() -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + 'static,
    ) -> Result<Running, RunError> {
        self.0.open("_water_associate", None, Some(Box::new(dial)), Some(Box::new(accepted))).await
    }
}

impl Blueprint {
    fn new(
        module: &Module,
        options: Options,
        role: &'static str,
        export: &'static str,
        can: bool,
    ) -> Result<Self, RoleError> {
        if !can {
            return Err(RoleError::Missing { role, export, roles: module.roles() });
        }
        let mut linker = Linker::new(module.compiled().engine());
        let linked = host::add_to_linker(&mut linker).and_then(|()| preview1::add_to_linker(&mut linker));
        let pre = linked.and_then(|()| linker.instantiate_pre(module.compiled())).map_err(RoleError::Link)?;
        Ok(Blueprint { pre, options })
    }

    async fn open(
        &self,
        entry: &'static str,
        caller: Option<Box<dyn Transport>>,
        dial: Option<Dial>,
        accepted: Option<Box<dyn Transport>>,
    ) -> Result<Running, RunError> {
        let limit = self.options.limits.opening;
        let (cancelled, is_cancelled) = watch::channel(false);
        let opening = self.begin(entry, caller, dial, accepted, is_cancelled);
        let (instance, cancel) = timeout(limit, opening).await.map_err(|_| RunError::Timeout(limit))??;
        let deferred = Arc::clone(&instance.store.data().deferred);
        let task = tokio::spawn(worker(instance));
        Ok(Running { task, returned: None, closing: JoinSet::new(), cancel, cancelled, deferred })
    }

    /// An instance that is ready for its worker, and the host's end of its cancel stream.
    async fn begin(
        &self,
        entry: &'static str,
        caller: Option<Box<dyn Transport>>,
        dial: Option<Dial>,
        accepted: Option<Box<dyn Transport>>,
        cancelled: watch::Receiver<bool>,
    ) -> Result<(Instance, DuplexStream), RunError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.options.limits.memory)
            .memories(1)
            // An element is a pointer in the host.
            .table_elements(self.options.limits.memory / size_of::<usize>() / MAX_TABLES)
            .tables(MAX_TABLES)
            .build();
        let config = self.options.config.clone();
        let Limits { writing, closing, .. } = self.options.limits;
        let descriptors = Descriptors::new(Closing { limit: closing, cancelled }, writing);
        let deferred = Arc::default();
        let state = State {
            limits,
            descriptors,
            dial,
            accepted,
            config,
            dial_failure: None,
            deferred,
            began: Instant::now(),
            happened: 0,
            turn: (-1, 0),
        };
        let mut store = Store::new(self.pre.module().engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(|error| failed("instantiation", &error))?;
        let mut instance = Instance { store, instance };
        for start in ["_initialize", "_start"] {
            instance.start(start).await?;
        }
        instance.call_well("_water_init", &[]).await?;
        let caller = match caller {
            Some(caller) => vec![instance.insert(entry, Stream::new(caller))?],
            None => vec![],
        };
        instance.call_well(entry, &caller).await?;
        let (cancel, cancelled) = duplex(1);
        let cancelled = instance.insert("_water_cancel_with", Stream::cancel(Box::new(cancelled)))?;
        instance.call_well("_water_cancel_with", &[cancelled]).await?;
        Ok((instance, cancel))
    }
}

/// Runs the worker to its end; gives that, and the streams that have something left to send.
async fn worker(mut instance: Instance) -> Result<(End, JoinSet<()>), RunError> {
    let code = instance.call("_water_worker", &[]).await?;
    let end = match code {
        0 => End::Normal,
        CANCELLED => End::Cancelled,
        PEER_GONE => End::PeerGone,
        code => End::Code(code),
    };
    // The instance, and its memory, are not needed any longer.
    Ok((end, instance.store.data_mut().descriptors.close_all()))
}

struct Instance {
    store: Store<State>,
    instance: wasmtime::Instance,
}

impl Instance {
    /// Runs what a module may have to run first; one that exits well there goes on.
    async fn start(&mut self, name: &'static str) -> Result<(), RunError> {
        let Some(function) = self.instance.get_func(&mut self.store, name) else { return Ok(()) };
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        match function.call_async(&mut self.store, &[], &mut results).await {
            Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => Ok(()),
            outcome => outcome.map_err(|error| failed(name, &error)),
        }
    }

    /// Gives the transport a stream for a call.
    fn insert(&mut self, call: &'static str, stream: Stream) -> Result<i32, RunError> {
        let inserted = self.store.data_mut().descriptors.insert_stream(stream);
        inserted.map_err(|error| RunError::Refused { call, code: -i32::from(error.0), dial_failure: None })
    }

    async fn call_well(&mut self, name: &'static str, arguments: &[i32]) -> Result<i32, RunError> {
        match self.call(name, arguments).await? {
            code if code < 0 => {
                let dial_failure = self.store.data_mut().dial_failure.take();
                Err(RunError::Refused { call: name, code, dial_failure })
            }
            result => Ok(result),
        }
    }

    async fn call(&mut self, name: &'static str, arguments: &[i32]) -> Result<i32, RunError> {
        let missing = || RunError::Failed { call: name, cause: "there is no such export".to_owned() };
        let function = self.instance.get_func(&mut self.store, name).ok_or_else(missing)?;
        let arguments: Vec<_> = arguments.iter().map(|argument| Val::I32(*argument)).collect();
        let mut results = [Val::I32(0)];
        let called = function.call_async(&mut self.store, &arguments, &mut results).await;
        called.map_err(|error| failed(name, &error))?;
        Ok(results[0].i32().unwrap_or_default())
    }
}

fn failed(call: &'static str, error: &wasmtime::Error) -> RunError {
    tracing::debug!("{error:?}");
    RunError::Failed { call, cause: error.root_cause().to_string() }
}

/// A connection through a transport, whose worker runs on a task of its own. Dropped, it is ended at once.
#[derive(Debug)]
pub struct Running {
    task: JoinHandle<Result<(End, JoinSet<()>), RunError>>,
    /// How its worker returned.
    returned: Option<End>,
    /// The streams that have something left to send.
    closing: JoinSet<()>,
    cancel: DuplexStream,
    cancelled: watch::Sender<bool>,
    deferred: Arc<AtomicBool>,
}

impl Running {
    /// Whether the transport has called `host_defer`.
    pub fn has_deferred(&self) -> bool {
        self.deferred.load(Relaxed)
    }

    /// Waits for its end: its worker has returned, and what it wrote was sent, or could not be within
    /// [`Limits::closing`]. Cancel safe, but to be called no more once it has failed.
    ///
    /// # Errors
    /// [`RunError::Failed`] for a worker that trapped.
    pub async fn ended(&mut self) -> Result<End, RunError> {
        let end = self.returned().await?;
        while self.closing.join_next().await.is_some() {}
        Ok(end)
    }

    /// Waits until the worker has returned. Cancel safe.
    async fn returned(&mut self) -> Result<End, RunError> {
        if let Some(end) = self.returned {
            return Ok(end);
        }
        let failed = |error: JoinError| RunError::Failed { call: "_water_worker", cause: error.to_string() };
        let (end, closing) = (&mut self.task).await.map_err(failed)??;
        self.closing = closing;
        Ok(*self.returned.insert(end))
    }

    /// Asks its worker to return, and drops it when it has not after `limit`. What it wrote has little time left then.
    ///
    /// # Errors
    /// [`RunError::NotCancelled`] when it had to be dropped, and those of [`Running::ended`].
    pub async fn cancel(mut self, limit: Duration) -> Result<End, RunError> {
        self.cancelled.send_replace(true);
        // A transport that has closed the stream ends by itself, or is dropped.
        let _ = self.cancel.write_all(&[1]).await;
        timeout(limit, self.returned()).await.unwrap_or(Err(RunError::NotCancelled(limit)))?;
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
