//! One instance of a module: its life from instantiation on, and each of its calls, all within a time limit.

use super::{
    broadcast::LastMessage,
    codec::{self, Message, Response, SocketId, encode_id},
    module::Module,
    server::Shared,
    socket::Outbox,
    state::{CurrentSession, Payload, Socket, State},
};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};
use tokio::time::timeout;
use wasmtime::{
    Error, ExternType, Linker, Memory, MemoryType, Result, Store, StoreLimitsBuilder, Val, error::Context as _,
};
use wasmtime_wasi::{I32Exit, p1::WasiP1Ctx};

/// How many tables an instance may have.
const MAX_TABLES: usize = 4;
/// How many pages a memory that the host makes has at least.
const LEAST_PAGES: u64 = 64;

pub(super) struct Instance {
    store: Store<State>,
    instance: wasmtime::Instance,
}

/// What a guest answers to a request.
pub(super) struct Answer {
    pub(super) response: Response,
    /// The session that began with it.
    pub(super) began_session: Option<String>,
    /// The session that the request has, whether it began or not.
    pub(super) session: Option<String>,
}

impl Instance {
    /// Instantiates a module and runs its `_initialize` and `_start`, where it has them.
    ///
    /// # Errors
    /// What went wrong, with the call in which it did.
    pub(super) async fn start(
        module: &Module,
        mut linker: Linker<State>,
        wasi: WasiP1Ctx,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(shared.limits.memory)
            // An element is a pointer in the host.
            .table_elements(shared.limits.memory / size_of::<usize>() / MAX_TABLES)
            .memories(1)
            .tables(MAX_TABLES)
            .build();
        let state = State {
            wasi,
            limits,
            shape: module.shape(),
            imported_memory: None,
            payload: Payload::default(),
            received: Bytes::new(),
            last_message: LastMessage::default(),
            sockets: HashMap::new(),
            full: Vec::new(),
            session: CurrentSession::default(),
            stores: Vec::new(),
            shared,
        };
        let mut store = Store::new(module.compiled().engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        if let Some((from, name, wanted)) = imported_memory(module) {
            let memory = Memory::new_async(&mut store, wanted).await.context("its memory cannot be made")?;
            store.data_mut().imported_memory = Some(memory);
            linker.define(&mut store, &from, &name, memory)?;
        }
        let limit = store.data().shared.limits.callback;
        let instantiated = timeout(limit, linker.instantiate_async(&mut store, module.compiled())).await;
        let instance = instantiated.map_err(|_| too_long("instantiating it", limit))?;
        let instance = instance.map_err(|error| brief("its instantiation", error))?;
        let mut instance = Instance { store, instance };
        for entry in ["_initialize", "_start"] {
            match instance.call(entry, &[]).await {
                // A command that has done its part.
                Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {}
                outcome => outcome.map(|_| ())?,
            }
        }
        Ok(instance)
    }

    /// What this module's sockets are, by their numbers.
    pub(super) fn sockets(&mut self) -> &mut HashMap<SocketId, Socket> {
        &mut self.store.data_mut().sockets
    }

    /// The outboxes that have more than should wait, since this was last asked.
    pub(super) fn take_full(&mut self) -> Vec<Arc<Outbox>> {
        std::mem::take(&mut self.store.data_mut().full)
    }

    /// Has the guest answer a request, by the export of a method.
    ///
    /// # Errors
    /// A trap of the guest, a call that took too long, or an invalid response; the instance must not be called
    /// again.
    pub(super) async fn respond(&mut self, method: &str, request: Bytes, session: Option<String>) -> Result<Answer> {
        let state = self.store.data_mut();
        state.payload = request.into();
        state.session = CurrentSession { id: session, can_begin: true, began: false };
        let request = self.call("newRequest", &[]).await?;
        let response = self.call(method, &request).await?;
        self.call("finalizeRequest", &request).await?;
        self.call("sendResponse", &response).await?;
        let decoded = Response::decode(&self.store.data().received);
        let decoded = decoded.map_err(|error| Error::msg(format!("its response is invalid: {error}")))?;
        self.call("finalizeResponse", &response).await?;
        let CurrentSession { id, began, .. } = std::mem::take(&mut self.store.data_mut().session);
        self.rest();
        Ok(Answer { response: decoded, began_session: id.clone().filter(|_| began), session: id })
    }

    /// Tells the guest that a socket is open.
    ///
    /// # Errors
    /// Those of [`Instance::respond`].
    pub(super) async fn opened(&mut self, id: SocketId) -> Result<()> {
        self.event("websocketOpen", id, encode_id(id).into()).await
    }

    /// Gives the guest a message.
    ///
    /// # Errors
    /// Those of [`Instance::respond`].
    pub(super) async fn message(&mut self, id: SocketId, kind: codec::Kind) -> Result<()> {
        let length = kind.len();
        let [head, data] = Message { id, kind }.encode(self.store.data().shape.dialect);
        self.event("websocketMessage", id, Payload { head, data }).await?;
        if let Some(socket) = self.sockets().get(&id) {
            socket.outbox.handled(length);
        }
        Ok(())
    }

    /// Tells the guest that a socket is closed, and forgets it.
    ///
    /// # Errors
    /// Those of [`Instance::respond`].
    pub(super) async fn closed(&mut self, id: SocketId) -> Result<()> {
        let outcome = self.event("websocketClose", id, encode_id(id).into()).await;
        self.sockets().remove(&id);
        outcome
    }

    async fn event(&mut self, callback: &'static str, id: SocketId, payload: Payload) -> Result<()> {
        let state = self.store.data_mut();
        let session = state.sockets.get(&id).and_then(|socket| socket.session.clone());
        state.session = CurrentSession { id: session, can_begin: false, began: false };
        state.payload = payload;
        self.call(callback, &[]).await?;
        self.rest();
        Ok(())
    }

    /// Between two calls, an instance holds no payload.
    fn rest(&mut self) {
        let state = self.store.data_mut();
        (state.payload, state.received) = (Payload::default(), Bytes::new());
        state.last_message = LastMessage::default();
    }

    /// Calls an export, where there is one, whatever it gives.
    async fn call(&mut self, name: &str, arguments: &[Val]) -> Result<Vec<Val>> {
        let Some(function) = self.instance.get_func(&mut self.store, name) else { return Ok(Vec::new()) };
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let limit = self.store.data().shared.limits.callback;
        let called = timeout(limit, function.call_async(&mut self.store, arguments, &mut results)).await;
        called.map_err(|_| too_long(&format!("`{name}`"), limit))?.map_err(|error| brief(name, error))?;
        Ok(results)
    }
}

/// In one line which call failed and why; the way through the guest's functions, a line for each, is for whoever
/// debugs it.
fn brief(call: &str, error: Error) -> Error {
    tracing::debug!("{error:?}");
    match error.downcast_ref::<I32Exit>() {
        Some(_) => error,
        None => Error::msg(format!("in `{call}`: {}", error.root_cause())),
    }
}

fn too_long(what: &str, limit: std::time::Duration) -> Error {
    Error::msg(format!("{what} took longer than {}", humantime::format_duration(limit)))
}

/// The memory that a module wants from its host.
fn imported_memory(module: &Module) -> Option<(String, String, MemoryType)> {
    module.compiled().imports().find_map(|import| {
        let ExternType::Memory(wanted) = import.ty() else { return None };
        let most = wanted.maximum();
        let pages = wanted.minimum().max(LEAST_PAGES).min(most.unwrap_or(u64::MAX));
        let mut builder = wasmtime::MemoryTypeBuilder::new();
        let made = builder.min(pages).max(most).memory64(wanted.is_64()).build().ok()?;
        Some((import.module().to_owned(), import.name().to_owned(), made))
    })
}
