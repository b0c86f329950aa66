//! The WebSocket protocol without input or output: bytes in, messages out, and back. The only
//! module that names tungstenite, whose frame headers and handshake keys it builds on.
//!
//! tungstenite's own reader is not used: it reserves a frame's announced length before the bytes
//! arrive, checks UTF-8 only at a frame's end, and sends no close frame after an error.

mod decode;
mod encode;

pub(crate) use decode::{Decoder, Violation};
pub(crate) use encode::Encoder;
pub(crate) use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// From this many bytes on, a payload is not copied out of the buffer that it was read into, and its rest is read into its
/// place. Fuzzers reach that with little input.
const LARGE: usize = if cfg!(feature = "fuzzing") { 64 } else { 16 * 1024 };

/// Which end of the connection this is: clients mask what they send, servers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// Applies a mask to a payload whose first byte is at `offset` (RFC 6455 section 5.3); masking
/// twice is unmasking.
fn mask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
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
    use crate::{CloseInfo, Message};
    use bytes::{BufMut, Bytes, BytesMut};
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Message> {
        let control = || proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Bytes::from);
        let code = prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..5000];
        prop_oneof![
            any::<String>().prop_map(Message::Text),
            proptest::collection::vec(any::<u8>(), 0..70_000).prop_map(|data| Message::Binary(data.into())),
            control().prop_map(Message::Ping),
            control().prop_map(Message::Pong),
            (code, proptest::option::of("[a-zé€]{1,20}"))
                .prop_map(|(code, reason)| Message::Close(CloseInfo { code, reason })),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_one_end_encodes_the_other_decodes_however_it_is_cut(
            sent in proptest::collection::vec(messages(), 1..5),
            cut in prop_oneof![1usize..3000, 3000usize..80_000],
            client in any::<bool>(), first in (0usize..20_000).prop_map(|words| 4 * words),
        ) {
            let (from, to) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
            let (mut output, encoder) = (BytesMut::new(), Encoder::new(from));
            for message in &sent {
                let mut frame = encoder.begin(message.into(), &mut output);
                [first, usize::MAX].iter().for_each(|most| frame.put(*most, &mut output));
            }
            let wire = output.freeze();
            let (mut decoder, mut input, mut received) = (Decoder::new(to, 1 << 20), BytesMut::new(), Vec::new());
            for mut part in wire.chunks(cut) {
                while !part.is_empty() {
                    // As the driver reads.
                    match decoder.room() {
                        Some(mut room) if input.is_empty() => {
                            let count = part.len().min(room.chunk_mut().len());
                            room.put_slice(part.split_off(..count).unwrap());
                        }
                        _ => input.extend_from_slice(std::mem::take(&mut part)),
                    }
                    while let Some(message) = decoder.decode(&mut input).unwrap() {
                        received.push(message);
                    }
                }
            }
            prop_assert_eq!(received, sent);
            prop_assert!(input.is_empty() && !decoder.is_within_message());
        }

        #[test]
        fn no_bytes_off_the_wire_panic_or_allocate_beyond_themselves(
            wire in proptest::collection::vec(any::<u8>(), 0..200), client in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(if client { Role::Client } else { Role::Server }, usize::MAX);
            let mut input = BytesMut::from(&wire[..]);
            while let Ok(Some(_)) = decoder.decode(&mut input) {}
            prop_assert!(decoder.reserved() <= 4096);
        }

        #[test]
        fn a_mask_goes_on_where_it_stopped(data in proptest::collection::vec(any::<u8>(), 0..50), key: [u8; 4], at: usize) {
            let (mut whole, mut parts) = (data.clone(), data);
            mask(&mut whole, key, 0);
            let at = at % (parts.len() + 1);
            mask(&mut parts[..at], key, 0);
            mask(&mut parts[at..], key, at);
            prop_assert_eq!(whole, parts);
        }
    }
}
