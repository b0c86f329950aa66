//! An open connection: the handle that guests call, who reads and writes the socket, timers, and who wakes whom.

pub(crate) mod calls;
pub(crate) mod connection;
pub(crate) mod driver;
pub(crate) mod flusher;
pub(crate) mod parts;
pub(crate) mod shared;
pub(crate) mod sync;
pub(crate) mod timer;
pub(crate) mod transport;
pub(crate) mod wakers;
