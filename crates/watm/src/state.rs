//! What the host keeps for one transport, and its memory.

use super::{
    descriptors::{Descriptor, Descriptors},
    errno::Errno,
    stream::Transport,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};
use tokio::time::Instant;
use wasmtime::{Caller, Memory, StoreLimits};

/// How many bytes of a line it prints are logged as one.
const MAX_LINE: usize = 4096;

/// Opens a connection of the network side.
pub(super) type Dial = Box<dyn FnMut() -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send>;

/// What the store of a transport holds.
pub(super) struct State {
    pub(super) limits: StoreLimits,
    pub(super) descriptors: Descriptors,
    /// The network: how to dial it, and a connection that has come from it.
    pub(super) dial: Option<Dial>,
    pub(super) accepted: Option<Box<dyn Transport>>,
    pub(super) config: Option<Bytes>,
    /// Why the network could not be dialled, when it last could not.
    pub(super) dial_failure: Option<String>,
    /// Whether it called `host_defer`.
    pub(super) deferred: Arc<AtomicBool>,
    /// What its clock counts from.
    pub(super) began: Instant,
    /// Counts what happens to it: whatever it reads or writes, and every event that can happen only once.
    pub(super) happened: u64,
    /// The stream that it read last, and how many bytes it took of it in a row.
    pub(super) turn: (i32, usize),
}

impl State {
    /// Counts what a read of a descriptor gave. That there is an end happens once, however often it is read.
    pub(super) fn has_read(&mut self, number: i32, count: usize) {
        let (last, taken) = self.turn;
        self.turn = (number, if last == number { taken + count } else { count });
        match self.descriptors.get(number) {
            Ok(Descriptor::Stream(stream)) if count == 0 => {
                if stream.told_end.is_none() {
                    self.happened += 1;
                    stream.told_end = Some(self.happened);
                }
            }
            _ => self.happened += 1,
        }
    }
}

/// Logs each line that is whole, or too long. Transports print what they carry, and so it is for debugging alone.
pub(super) fn print(line: &mut Vec<u8>, bytes: &[u8]) {
    if !tracing::enabled!(target: "watm", tracing::Level::DEBUG) {
        return;
    }
    for byte in bytes {
        if *byte == b'\n' || line.len() >= MAX_LINE {
            tracing::debug!(target: "watm", "{}", String::from_utf8_lossy(line));
            line.clear();
        }
        if *byte != b'\n' {
            line.push(*byte);
        }
    }
}

/// The memory of a transport, with every pointer checked.
pub(super) struct Guest<'a, 'b>(pub(super) &'a mut Caller<'b, State>);

impl Guest<'_, '_> {
    fn memory(&mut self) -> Result<Memory, Errno> {
        self.0.get_export("memory").and_then(|export| export.into_memory()).ok_or(Errno::FAULT)
    }

    pub(super) fn slice(&mut self, pointer: u32, length: u32) -> Result<&[u8], Errno> {
        let memory = self.memory()?;
        let start = pointer as usize;
        memory.data(&*self.0).get(start..start + length as usize).ok_or(Errno::FAULT)
    }

    pub(super) fn slice_mut(&mut self, pointer: u32, length: u32) -> Result<&mut [u8], Errno> {
        let memory = self.memory()?;
        let start = pointer as usize;
        memory.data_mut(&mut *self.0).get_mut(start..start + length as usize).ok_or(Errno::FAULT)
    }

    pub(super) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?;
        self.slice_mut(pointer, length)?.copy_from_slice(bytes);
        Ok(())
    }

    /// The buffers of a vectored call: pointers and lengths.
    pub(super) fn vectors(&mut self, pointer: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
        let all = self.slice(pointer, count.checked_mul(8).ok_or(Errno::INVAL)?)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        Ok(all.chunks_exact(8).map(|vector| (number(&vector[..4]), number(&vector[4..]))).collect())
    }
}
