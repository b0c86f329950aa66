//! Compressors and inflaters of the current thread. They are in use only while a message is compressed or inflated, so a
//! few of them serve any number of connections.

use std::{cell::RefCell, fmt};
use zlib_rs::{Deflate, DeflateConfig, Inflate};

/// How many unused compressors, and how many unused inflaters, a thread keeps.
const MOST_UNUSED: usize = 4;
/// The size of one step of output. A message of 64 KiB inflates in one: between two, zlib copies its window.
const STEP: usize = 128 * 1024;
/// Bytes that an inflater allocates.
pub(super) const INFLATER_SIZE: usize = 47 * 1024;

thread_local! {
    static COMPRESSORS: RefCell<Vec<(Key, Deflate)>> = const { RefCell::new(Vec::new()) };
    // Boxed: an idle connection has space for a pointer to one, not for its 130 bytes.
    #[allow(clippy::vec_box, reason = "they stay in their boxes when they are in use")]
    static INFLATERS: RefCell<Vec<Box<Inflate>>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a compressor is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) window_bits: u8,
    pub(super) level: u8,
}

/// Calls `step` with a buffer for output whose content means nothing.
pub(super) fn with_output<R>(step: impl FnOnce(&mut [u8]) -> R) -> R {
    OUTPUT.with_borrow_mut(|output| {
        output.resize(STEP, 0);
        step(output)
    })
}

/// A compressor at the beginning of its stream. Dropping it returns it to the current thread's pool.
pub(super) struct PooledCompressor {
    key: Key,
    deflate: Option<Deflate>,
}

impl PooledCompressor {
    pub(super) fn take(key: Key) -> Self {
        let unused = COMPRESSORS.with_borrow_mut(|unused| {
            let at = unused.iter().position(|(other, _)| *other == key)?;
            Some(unused.swap_remove(at).1)
        });
        let deflate = match unused {
            Some(mut deflate) => {
                deflate.reset();
                deflate
            }
            None => Deflate::new_with_config(DeflateConfig {
                level: i32::from(key.level),
                // Negative: without the header and the checksum of zlib.
                window_bits: -i32::from(key.window_bits),
                ..DeflateConfig::default()
            }),
        };
        PooledCompressor { key, deflate: Some(deflate) }
    }

    pub(super) fn get(&mut self) -> Option<&mut Deflate> {
        self.deflate.as_mut()
    }
}

impl Drop for PooledCompressor {
    fn drop(&mut self) {
        let Some(deflate) = self.deflate.take() else { return };
        // The pool of a thread that ends is gone already.
        let _ = COMPRESSORS.try_with(|unused| {
            if let Ok(mut unused) = unused.try_borrow_mut() {
                if unused.len() == MOST_UNUSED {
                    unused.remove(0);
                }
                unused.push((self.key, deflate));
            }
        });
    }
}

impl fmt::Debug for PooledCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledCompressor").field(&self.key).finish()
    }
}

/// An inflater at the beginning of its stream. Dropping it returns it to the current thread's pool.
pub(super) struct PooledInflater {
    inflate: Option<Box<Inflate>>,
}

impl PooledInflater {
    pub(super) fn take() -> Self {
        let inflate = match INFLATERS.with_borrow_mut(Vec::pop) {
            Some(mut inflate) => {
                inflate.reset(false);
                inflate
            }
            // 15 bits inflate what was compressed with fewer. zlib allocates the same for each.
            None => Box::new(Inflate::new(false, super::MAX_WINDOW_BITS)),
        };
        PooledInflater { inflate: Some(inflate) }
    }

    pub(super) fn get(&mut self) -> Option<&mut Inflate> {
        self.inflate.as_deref_mut()
    }
}

impl Drop for PooledInflater {
    fn drop(&mut self) {
        let Some(inflate) = self.inflate.take() else { return };
        let _ = INFLATERS.try_with(|unused| {
            if let Ok(mut unused) = unused.try_borrow_mut()
                && unused.len() < MOST_UNUSED
            {
                unused.push(inflate);
            }
        });
    }
}

impl fmt::Debug for PooledInflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledInflater").finish_non_exhaustive()
    }
}
