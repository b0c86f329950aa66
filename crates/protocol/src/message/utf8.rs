//! Text that comes in pieces (RFC 6455 section 8.1).

/// Checks that pieces of a text are UTF-8. A piece may end within a character.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Utf8Check {
    /// The beginning of a character whose other bytes are still to come.
    begun: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Checks the next piece; returns whether the text can still become UTF-8.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some(byte) = piece.split_off_first() else { return true };
            self.begun[self.length] = *byte;
            self.length += 1;
            match std::str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        let Err(error) = std::str::from_utf8(piece) else { return true };
        let begun = &piece[error.valid_up_to()..];
        // Without an error length, fewer bytes than a character has are left.
        if error.error_len().is_none() {
            self.length = begun.len();
            self.begun[..begun.len()].copy_from_slice(begun);
        }
        error.error_len().is_none()
    }

    /// Whether the pieces so far end with a whole character, as a text must.
    pub(crate) fn is_complete(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_checked_as_the_whole_is(
            text in ".{0,20}", damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(0usize..6, 1..40),
        ) {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = damage && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (mut check, mut rest, mut is_valid) = (Utf8Check::default(), &bytes[..], true);
            let mut seen = 0;
            for cut in cuts.iter().chain([&usize::MAX]) {
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                is_valid = is_valid && check.push(piece);
                rest = after;
                seen += piece.len();
                // A text fails with the piece that has its first invalid byte.
                let expected = std::str::from_utf8(&bytes[..seen]);
                prop_assert_eq!(is_valid, expected.is_ok_and(|_| true) || expected.is_err_and(|error| error.error_len().is_none()));
                if is_valid {
                    prop_assert_eq!(check.is_complete(), expected.is_ok());
                }
            }
            prop_assert_eq!(is_valid && check.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
