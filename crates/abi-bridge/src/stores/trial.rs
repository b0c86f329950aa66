//! A database file that is opened on trial: what is read comes from the file, and what is written stays in memory. A
//! damaged file can so be examined, and repaired on trial, and stays as it is.

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend, backends::FileBackend};
use std::{collections::BTreeMap, io, ops::Bound};

/// What is written is kept in blocks of this size.
const BLOCK: usize = 4096;

/// A file, and what was written since it was opened.
#[derive(Debug)]
pub(super) struct Trial {
    file: FileBackend,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    /// The part of the file that was never cut off.
    whole: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Trial {
    pub(super) fn new(file: FileBackend) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Trial { file, changes: Mutex::new(Changes { length, whole: length, blocks: BTreeMap::new() }) })
    }

    /// Reads from the file; behind its end there are zeros.
    fn read_file(&self, whole: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(whole.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (read, behind) = out.split_at_mut(there);
        behind.fill(0);
        if read.is_empty() { Ok(()) } else { self.file.read(offset, read) }
    }
}

/// The blocks of a range: the number of each, where the range begins in it, and how many bytes of the range it has.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let count = (length - done).min(BLOCK - within);
        done += count;
        (count > 0).then_some((at / BLOCK as u64, within, count))
    })
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changes.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(changes.whole, offset, out)?;
        let mut rest = out;
        for (block, within, count) in blocks(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(count);
            if let Some(changed) = changes.blocks.get(&block) {
                part.copy_from_slice(&changed[within..][..count]);
            }
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes.lock();
        changes.length = length;
        changes.whole = changes.whole.min(length);
        // What is cut off comes back as zeros, also in the block that the end is in.
        drop(changes.blocks.split_off(&length.div_ceil(BLOCK as u64)));
        if let Some(last) = changes.blocks.get_mut(&(length / BLOCK as u64)) {
            last[(length % BLOCK as u64) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes.lock();
        let mut rest = data;
        for (block, within, count) in blocks(offset, data.len()) {
            let (part, behind) = rest.split_at(count);
            if !changes.blocks.contains_key(&block) {
                let mut kept = Box::new([0; BLOCK]);
                self.read_file(changes.whole, block * BLOCK as u64, &mut kept[..])?;
                changes.blocks.insert(block, kept);
            }
            if let Some(kept) = changes.blocks.get_mut(&block) {
                kept[within..][..count].copy_from_slice(part);
            }
            rest = behind;
        }
        changes.length = changes.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
