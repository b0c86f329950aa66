//! The last bytes of the messages before, for context takeover (RFC 7692 section 4.3).

/// At most `capacity` bytes: the newest that were added.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    capacity: usize,
}

impl History {
    /// Allocates nothing until bytes are added.
    pub(super) fn new(capacity: usize) -> Self {
        History { bytes: Vec::new(), capacity }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let added = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let excess = (self.bytes.len() + added.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.reserve_exact(added.len());
        self.bytes.extend_from_slice(added);
    }

    /// Forgets everything, and releases the memory.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn memory_held(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_newest_bytes_remain(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let mut history = History::new(256);
            pieces.iter().for_each(|piece| history.push(piece));
            let all = pieces.concat();
            prop_assert_eq!(history.bytes(), &all[all.len().saturating_sub(256)..]);
            prop_assert!(history.memory_held() <= 256);
        }
    }
}
