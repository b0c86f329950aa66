//! Frames that wait to be written.

use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, io::IoSlice};

/// Bytes in the order in which they leave: small frames together in one buffer, large payloads as they are.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What leaves before `tail`, none of it empty, and how much that is.
    parts: VecDeque<Bytes>,
    length: usize,
    tail: BytesMut,
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.length + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, where that is in one piece.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.parts.is_empty().then_some(&self.tail)
    }

    /// Where what leaves last is written.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Has these bytes leave last, without a copy.
    pub(super) fn push(&mut self, bytes: Bytes) {
        for part in [self.tail.split().freeze(), bytes] {
            if !part.is_empty() {
                self.length += part.len();
                self.parts.push_back(part);
            }
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        let filled = into.iter_mut().zip(parts.filter(|part| !part.is_empty()));
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.parts.front_mut() {
            let gone = count.min(part.len());
            part.advance(gone);
            self.length -= gone;
            count -= gone;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.tail.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            puts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
            takes in proptest::collection::vec(0usize..50, 0..20),
        ) {
            let (mut output, mut expected) = (Output::default(), Vec::new());
            for (large, bytes) in puts {
                expected.extend_from_slice(&bytes);
                if large { output.push(bytes.into()) } else { output.tail().put_slice(&bytes) }
            }
            let mut written = Vec::new();
            for take in takes.into_iter().chain([usize::MAX]) {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = output.chunks_vectored(&mut slices);
                let whole: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert_eq!(whole.len(), output.remaining().min(whole.len()));
                prop_assert!(whole.starts_with(output.chunk()) && output.chunk().is_empty() == output.is_empty());
                let take = take.min(whole.len());
                written.extend_from_slice(&whole[..take]);
                output.advance(take);
            }
            prop_assert!(output.is_empty());
            prop_assert_eq!(written, expected);
        }
    }
}
