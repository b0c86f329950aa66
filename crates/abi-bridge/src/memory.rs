//! A guest's memory, with every pointer and length checked against it.

use super::{codec::PayloadError, state::State};
use bytes::Bytes;
use std::ops::Range;
use wasmtime::{Caller, Error, Memory, Result};

/// A call of a guest, for what is said about it.
pub(super) struct Call<'a, 'b> {
    pub(super) name: &'static str,
    pub(super) caller: &'a mut Caller<'b, State>,
}

impl Call<'_, '_> {
    /// A trap that says which call, and what is wrong.
    pub(super) fn misuse(&self, what: impl std::fmt::Display) -> Error {
        Error::msg(format!("`{}`: {what}", self.name))
    }

    /// A trap for an invalid payload.
    pub(super) fn bad_payload(&self, error: &PayloadError) -> Error {
        self.misuse(error)
    }

    /// Copies bytes out of the memory.
    pub(super) fn read(&mut self, pointer: i32, length: i32) -> Result<Bytes> {
        let memory = self.memory()?;
        let range = self.range(memory, pointer, length)?;
        Ok(Bytes::copy_from_slice(&memory.data(&self.caller)[range]))
    }

    /// Copies the payload into the memory.
    pub(super) fn write_payload(&mut self, pointer: i32, length: i32) -> Result<()> {
        let payload = self.caller.data().payload.clone();
        if payload.len() != unsigned(length) {
            let has = payload.len();
            return Err(self.misuse(format!("the length is {}, and the payload has {has} bytes", unsigned(length))));
        }
        let memory = self.memory()?;
        let range = self.range(memory, pointer, length)?;
        let into = &mut memory.data_mut(&mut self.caller)[range];
        let (head, data) = into.split_at_mut(payload.head.len());
        head.copy_from_slice(&payload.head);
        data.copy_from_slice(&payload.data);
        Ok(())
    }

    fn memory(&mut self) -> Result<Memory> {
        // Not looked up once and kept: a start function calls before its instance is complete.
        let exported = self.caller.get_export("memory").and_then(|export| export.into_memory());
        exported.or(self.caller.data().imported_memory).ok_or_else(|| self.misuse("the instance has no memory yet"))
    }

    fn range(&self, memory: Memory, pointer: i32, length: i32) -> Result<Range<usize>> {
        let (start, size) = (unsigned(pointer), memory.data_size(&self.caller));
        match start.checked_add(unsigned(length)) {
            Some(end) if end <= size => Ok(start..end),
            _ => Err(self.misuse(format!(
                "{} bytes at {start} are not within the memory, which has {size} bytes",
                unsigned(length)
            ))),
        }
    }
}

/// Pointers and lengths have no sign.
fn unsigned(number: i32) -> usize {
    number.cast_unsigned() as usize
}
