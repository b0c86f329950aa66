//! The locks of the code that waits and wakes. A model checker includes that code with locks of its own.

pub(crate) use parking_lot::{Mutex, MutexGuard};
