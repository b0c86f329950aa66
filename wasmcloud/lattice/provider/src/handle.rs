//! What stands for a connection on the lattice: the replica that has it, and an id that nobody can guess.

use std::fmt;

/// One process that serves this provider. Its name is part of a NATS subject.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replica([u8; 16]);

/// Which of a link's connections; 128 bits from the system's generator.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id([u8; 16]);

/// What a component holds as its `connection`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) replica: Replica,
    pub(crate) id: Id,
}

impl Replica {
    pub(crate) fn random() -> Self {
        Replica(rand::random())
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Id {
    pub(crate) fn random() -> Self {
        Id(rand::random())
    }
}

impl Handle {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.replica.0, self.id.0].concat()
    }

    /// `None` for bytes that no replica made.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (replica, id) = bytes.split_at_checked(16)?;
        Some(Handle { replica: Replica(replica.try_into().ok()?), id: Id(id.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_a_handle_make_one() {
        let handle = Handle { replica: Replica::random(), id: Id::random() };
        let bytes = handle.to_bytes();
        assert!(Handle::from_bytes(&bytes) == Some(handle));
        for wrong in [&bytes[..31], &bytes[..16], &[], &[bytes.as_slice(), &[0]].concat()] {
            assert!(Handle::from_bytes(wrong).is_none());
        }
    }

    #[test]
    fn a_replica_s_name_fits_in_a_subject() {
        let name = Replica([0x0f; 16]).to_string();
        assert_eq!(name, "0f".repeat(16));
    }
}
