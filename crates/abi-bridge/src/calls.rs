//! What a guest can call: the functions of the ABI, under the names of both import modules.

use super::{
    codec::{
        Dialect, MESSAGE_HEAD, NewSession, PayloadError, Session, SocketId, StoreAnswer, StoreCall, decode_id,
        decode_name,
    },
    memory::Call,
    module::{IMPORT_MODULES, Shape},
    socket::{Outbox, Outgoing},
    state::State,
    stores::StoreError,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::p1;
use websocket_connection::CloseInfo;

/// How many stores a guest may import.
const MAX_STORES: usize = 1024;

/// What modules of this shape are linked with; a memory of the host's is for each instance to add.
pub(super) fn linker(engine: &wasmtime::Engine, shape: Shape) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    for module in IMPORT_MODULES {
        bytes(&mut linker, module)?;
        sockets(&mut linker, module, shape.dialect)?;
        sessions(&mut linker, module)?;
        stores(&mut linker, module)?;
    }
    Ok(linker)
}

fn bytes(linker: &mut Linker<State>, module: &str) -> Result<()> {
    linker.func_wrap(module, "payloadByteLength", |caller: Caller<'_, State>| caller.data().payload.len() as u32)?;
    linker.func_wrap(module, "receive", |mut caller: Caller<'_, State>, pointer: i32, length: i32| {
        Call { name: "receive", caller: &mut caller }.write_payload(pointer, length)
    })?;
    linker.func_wrap(module, "send", |mut caller: Caller<'_, State>, pointer: i32, length: i32| {
        let received = Call { name: "send", caller: &mut caller }.read(pointer, length)?;
        caller.data_mut().received = received;
        Ok(())
    })?;
    Ok(())
}

fn sockets(linker: &mut Linker<State>, module: &str, dialect: Dialect) -> Result<()> {
    match dialect {
        Dialect::Shipped => {
            linker.func_wrap(module, "websocketSend", |mut caller: Caller<'_, State>| {
                let payload = caller.data().received.clone();
                send(&mut Call { name: "websocketSend", caller: &mut caller }, &payload)
            })?;
            linker.func_wrap(module, "websocketClose", |mut caller: Caller<'_, State>| {
                let payload = caller.data().received.clone();
                close(&mut Call { name: "websocketClose", caller: &mut caller }, &payload)
            })?;
        }
        Dialect::Proposal => {
            linker.func_wrap(module, "websocketSend", |mut caller: Caller<'_, State>, pointer: i32| {
                let mut call = Call { name: "websocketSend", caller: &mut caller };
                let head = call.read(pointer, MESSAGE_HEAD as i32)?;
                // The last of the head's numbers is the length of the data, which no memory has where it overflows.
                let data = head.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
                let length = data.saturating_add(MESSAGE_HEAD as u32);
                let payload = call.read(pointer, length.cast_signed())?;
                send(&mut call, &payload)
            })?;
            linker.func_wrap(module, "websocketClose", |mut caller: Caller<'_, State>, pointer: i32| {
                let mut call = Call { name: "websocketClose", caller: &mut caller };
                let payload = call.read(pointer, size_of::<SocketId>() as i32)?;
                close(&mut call, &payload)
            })?;
        }
    }
    Ok(())
}

fn send(call: &mut Call<'_, '_>, payload: &Bytes) -> Result<()> {
    let dialect = call.caller.data().shape.dialect;
    let decoded = call.caller.data_mut().last_message.decode(payload, dialect);
    let (id, message) = decoded.map_err(|error| call.bad_payload(&error))?;
    let state = call.caller.data_mut();
    let Some(socket) = state.sockets.get(&id) else { return Err(no_socket(call, id)) };
    let is_known = |full: &Arc<Outbox>| Arc::ptr_eq(full, &socket.outbox);
    if socket.outbox.send(Outgoing::Message(message)) && !state.full.iter().any(is_known) {
        state.full.push(Arc::clone(&socket.outbox));
    }
    Ok(())
}

fn close(call: &mut Call<'_, '_>, payload: &Bytes) -> Result<()> {
    let id = decode_id(payload).map_err(|error| call.bad_payload(&error))?;
    match call.caller.data().sockets.get(&id) {
        Some(socket) => {
            socket.outbox.send(Outgoing::Close(CloseInfo { code: 1000, reason: None }));
            Ok(())
        }
        None => Err(no_socket(call, id)),
    }
}

fn no_socket(call: &Call<'_, '_>, id: SocketId) -> wasmtime::Error {
    call.bad_payload(&PayloadError { offset: 0, what: format!("no socket of this instance has the number {id}") })
}

fn sessions(linker: &mut Linker<State>, module: &str) -> Result<()> {
    for name in ["newSession", "sessionNew"] {
        linker.func_wrap(module, name, move |mut caller: Caller<'_, State>| {
            let mut call = Call { name, caller: &mut caller };
            let session = NewSession::decode(&call.caller.data().received);
            let session = session.map_err(|error| call.bad_payload(&error))?;
            begin_session(&mut call, session.data)
        })?;
    }
    for name in ["getSession", "sessionGet"] {
        linker.func_wrap(module, name, |mut caller: Caller<'_, State>| {
            let session = session(caller.data());
            give_session(caller.data_mut(), session.as_ref());
        })?;
    }
    linker
        .func_wrap(module, "sessionExists", |caller: Caller<'_, State>| i32::from(session(caller.data()).is_some()))?;
    linker.func_wrap(module, "sessionSet", |mut caller: Caller<'_, State>| {
        let mut call = Call { name: "sessionSet", caller: &mut caller };
        let changed = NewSession::decode_either(&call.caller.data().received);
        let changed = changed.map_err(|error| call.bad_payload(&error))?;
        let state = call.caller.data();
        let set = match &state.session.id {
            Some(id) => state.shared.sessions.set(id, changed.data.clone()),
            None => Ok(false),
        };
        let is_over = state.session.id.is_some() && !state.session.can_begin;
        match set.map_err(|why| call.misuse(why))? {
            true => Ok(()),
            // A socket outlives its session, and nobody can be told of another.
            false if is_over => Ok(()),
            // One that does not exist, or no more, begins.
            false => begin_session(&mut call, changed.data),
        }
    })?;
    Ok(())
}

fn begin_session(call: &mut Call<'_, '_>, data: String) -> Result<()> {
    if !call.caller.data().session.can_begin {
        return Err(call.misuse("a session begins only while a request is answered, which tells the client of it"));
    }
    let session = call.caller.data().shared.sessions.create(data).map_err(|why| call.misuse(why))?;
    let state = call.caller.data_mut();
    // Others may know the id from before, or have chosen that the client has it.
    if let Some(before) = &state.session.id {
        state.shared.sessions.remove(before);
    }
    (state.session.id, state.session.began) = (Some(session.id.clone()), true);
    give_session(state, Some(&session));
    Ok(())
}

/// The session that there is now.
fn session(state: &State) -> Option<Session> {
    let session = state.shared.sessions.get(state.session.id.as_deref()?)?;
    Some(Session { is_new: state.session.began, ..session })
}

fn give_session(state: &mut State, session: Option<&Session>) {
    state.payload = Session::encode(session, state.shape.generation).into();
}

/// The calls of stores by the names of [`StoreCall`].
const STORE_CALLS: [(&str, &str); 8] = [
    ("storeCount", "Count"),
    ("storeDelete", "Delete"),
    ("storeFind", "Find"),
    ("storeGet", "Get"),
    ("storeHas", "Has"),
    ("storeInsert", "Insert"),
    ("storeUpdate", "Update"),
    ("storeClear", "Clear"),
];

fn stores(linker: &mut Linker<State>, module: &str) -> Result<()> {
    linker.func_wrap_async(module, "storeImport", |mut caller: Caller<'_, State>, (): ()| {
        Box::new(async move {
            let call = Call { name: "storeImport", caller: &mut caller };
            let name = decode_name(&call.caller.data().received).map_err(|error| call.bad_payload(&error))?;
            let imported = import(caller.data_mut(), name).await.map(StoreAnswer::Number);
            Ok(give_answer(caller.data_mut(), "storeImport", imported))
        })
    })?;
    for (name, bare) in STORE_CALLS {
        linker.func_wrap_async(module, name, move |mut caller: Caller<'_, State>, (store,): (u32,)| {
            Box::new(async move {
                let call = Call { name, caller: &mut caller };
                let decoded = StoreCall::decode(bare, &call.caller.data().received);
                let decoded = decoded.map_err(|error| call.bad_payload(&error))?;
                let answer = ask(caller.data(), store, decoded);
                let answer = answer.await;
                Ok(give_answer(caller.data_mut(), name, answer))
            })
        })?;
    }
    Ok(())
}

/// The number of a store.
async fn import(state: &mut State, name: String) -> Result<u32, StoreError> {
    let known = state.stores.iter().position(|other| *other == name);
    if known.is_none() && state.stores.len() == MAX_STORES {
        return Err(StoreError::Invalid(format!("a guest imports at most {MAX_STORES} stores")));
    }
    let (stores, asked) = (Arc::clone(&state.shared.stores), name.clone());
    on_a_thread(move || stores.import(&asked)).await?;
    let number = known.unwrap_or(state.stores.len());
    if known.is_none() {
        state.stores.push(name);
    }
    Ok(number as u32)
}

fn ask(state: &State, store: u32, call: StoreCall) -> impl Future<Output = Result<StoreAnswer, StoreError>> + use<> {
    let name = state.stores.get(store as usize).cloned().ok_or(StoreError::NoSuchStore);
    let stores = Arc::clone(&state.shared.stores);
    on_a_thread(move || stores.call(&name?, &call))
}

/// Stores may block.
async fn on_a_thread<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    spawn_blocking(call).await.unwrap_or_else(|error| Err(StoreError::Unknown(error.to_string())))
}

/// Gives the status, and puts the answer where the guest finds it.
fn give_answer(state: &mut State, call: &str, answer: Result<StoreAnswer, StoreError>) -> u32 {
    match answer {
        Ok(answer) => {
            state.payload = answer.encode().into();
            0
        }
        Err(error) => {
            tracing::debug!(call, %error, "a store refused");
            state.payload = Bytes::new().into();
            error.status()
        }
    }
}
