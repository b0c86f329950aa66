//! The last bytes of the messages before, for context takeover (RFC 7692 section 4.3).

use std::collections::VecDeque;

/// At most `capacity` bytes: the newest that were added.
#[derive(Debug)]
pub(super) struct History {
    /// A ring: to add a few bytes does not move the others.
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl History {
    /// Allocates nothing until bytes are added.
    pub(super) fn new(capacity: usize) -> Self {
        History { bytes: VecDeque::new(), capacity }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let added = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let excess = (self.bytes.len() + added.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.reserve_exact(added.len());
        self.bytes.extend(added);
    }

    /// Forgets everything, and releases the memory.
    pub(super) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }

    /// The bytes, in up to two parts: a dictionary that is set in two steps.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (first, second) = self.bytes.as_slices();
        [first, second].into_iter().filter(|part| !part.is_empty())
    }

    pub(super) fn memory_held(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    #[test]
    fn single_bytes_are_added_to_a_full_history_without_moving_the_others() {
        let mut history = History::new(16 << 20);
        history.push(&vec![0; 16 << 20]);
        let start = Instant::now();
        (0..10_000u32).for_each(|number| history.push(&[number as u8]));
        assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn the_newest_bytes_remain(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let mut history = History::new(256);
            pieces.iter().for_each(|piece| history.push(piece));
            let all = pieces.concat();
            let kept: Vec<_> = history.parts().flatten().copied().collect();
            prop_assert_eq!(kept, &all[all.len().saturating_sub(256)..]);
            prop_assert!(history.memory_held() <= 256);
        }
    }
}
