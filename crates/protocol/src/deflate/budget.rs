//! How much memory context takeover may use, over all connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A limit in bytes for the memory of context takeover. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    remaining: Arc<AtomicUsize>,
}

impl MemoryBudget {
    /// A budget of `bytes`. A connection with context takeover in both directions and 15 window bits needs 36 KiB.
    pub fn new(bytes: usize) -> Self {
        MemoryBudget { remaining: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Bytes that are not granted.
    pub fn remaining(&self) -> usize {
        self.remaining.load(Relaxed)
    }

    /// A grant of no bytes.
    pub(super) fn none(&self) -> MemoryGrant {
        MemoryGrant { budget: self.clone(), bytes: 0 }
    }

    /// Takes `bytes` from the budget; `None` if fewer remain.
    pub fn reserve(&self, bytes: usize) -> Option<MemoryGrant> {
        let take = |remaining: usize| remaining.checked_sub(bytes);
        self.remaining.fetch_update(Relaxed, Relaxed, take).ok()?;
        Some(MemoryGrant { budget: self.clone(), bytes })
    }
}

/// A part of a [`MemoryBudget`], which its drop returns.
#[derive(Debug)]
pub struct MemoryGrant {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryGrant {
    /// The size of the grant.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns all but `bytes` to the budget.
    pub(super) fn shrink(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes);
        let returned = self.bytes.saturating_sub(bytes);
        self.bytes -= returned;
        self.budget.remaining.fetch_add(returned, Relaxed);
    }
}

impl Drop for MemoryGrant {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_returns_to_the_budget_when_it_is_dropped() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert!(budget.reserve(41).is_none());
        first.shrink(10);
        let second = budget.clone().reserve(90).unwrap();
        assert_eq!((budget.remaining(), first.bytes(), second.bytes()), (0, 10, 90));
        drop(first);
        assert_eq!(budget.remaining(), 10);
        drop(second);
        assert_eq!(budget.remaining(), 100);
        assert!(MemoryBudget::new(0).reserve(0).is_some());
    }
}
