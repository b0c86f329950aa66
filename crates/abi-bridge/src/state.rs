//! What the host keeps for one instance.

use super::{broadcast::LastMessage, codec::SocketId, module::Shape, server::Shared, socket::Outbox};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};
use wasmtime::{Memory, StoreLimits};
use wasmtime_wasi::p1::WasiP1Ctx;

/// What the store of an instance holds.
pub(super) struct State {
    pub(super) wasi: WasiP1Ctx,
    pub(super) limits: StoreLimits,
    pub(super) shape: Shape,
    pub(super) imported_memory: Option<Memory>,
    /// From host to guest, and from guest to host.
    pub(super) payload: Payload,
    pub(super) received: Bytes,
    pub(super) last_message: LastMessage,
    pub(super) sockets: HashMap<SocketId, Socket>,
    /// Outboxes that the guest has filled beyond their soft bound.
    pub(super) full: Vec<Arc<Outbox>>,
    /// The session of the request, or of the socket, that the guest is called for.
    pub(super) session: CurrentSession,
    /// The names of the stores that the guest imported; their places are their numbers.
    pub(super) stores: Vec<String>,
    pub(super) shared: Arc<Shared>,
}

/// A payload in two parts, so that a message is not copied to put its number in front.
#[derive(Clone, Default)]
pub(super) struct Payload {
    pub(super) head: Bytes,
    pub(super) data: Bytes,
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.data.len()
    }
}

impl From<Bytes> for Payload {
    fn from(data: Bytes) -> Self {
        Payload { head: Bytes::new(), data }
    }
}

/// A socket as its guest knows it.
pub(super) struct Socket {
    pub(super) outbox: Arc<Outbox>,
    /// That of the request that became the socket.
    pub(super) session: Option<String>,
}

#[derive(Default)]
pub(super) struct CurrentSession {
    pub(super) id: Option<String>,
    /// Whether a response follows that can tell the client of a new one.
    pub(super) can_begin: bool,
    pub(super) began: bool,
}
