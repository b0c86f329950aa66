//! Masking (RFC 6455 section 5.3).

/// Applies `mask` to the bytes of a payload from `offset` on. Applying it twice restores the payload.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut key = mask;
    key.rotate_left(offset % 4);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_is_that_of_the_rfc_at_every_offset(data in proptest::collection::vec(any::<u8>(), 0..50), mask: [u8; 4], offset in 0usize..9) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(at, byte)| byte ^ mask[(offset + at) % 4]).collect();
            let mut masked = data;
            apply_mask(&mut masked, mask, offset);
            prop_assert_eq!(masked, expected);
        }
    }
}
