//! Messages that a guest sends to one socket after the other, with a call for each.

use super::codec::{Dialect, Kind, Message, PayloadError, SocketId, decode_id};
use bytes::Bytes;
use websocket_connection::PreparedMessage;

/// Bytes of a message's payload that differ when only the socket does.
const ID: usize = size_of::<SocketId>();

/// The last message that an instance has sent, with its payload. If the next one differs in nothing but the socket, it is not
/// framed and compressed again.
#[derive(Default)]
pub(super) struct LastMessage(Option<(Bytes, PreparedMessage)>);

impl LastMessage {
    /// Reads the payload of a message, and returns the number of its socket with it.
    ///
    /// # Errors
    /// Those of [`Message::decode`].
    pub(super) fn decode(
        &mut self,
        payload: &Bytes,
        dialect: Dialect,
    ) -> Result<(SocketId, PreparedMessage), PayloadError> {
        if let Some((last, message)) = &self.0
            && payload.len() == last.len()
            && payload[ID..] == last[ID..]
        {
            return Ok((decode_id(&payload[..ID])?, message.clone()));
        }
        let Message { id, kind } = Message::decode(payload, dialect)?;
        let message = match kind {
            Kind::Text(text) => PreparedMessage::text(text),
            Kind::Binary(data) => PreparedMessage::binary(data),
        };
        self.0 = Some((payload.clone(), message.clone()));
        Ok((id, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_differs_in_nothing_but_its_socket_is_the_last_one_again() {
        for dialect in [Dialect::Shipped, Dialect::Proposal] {
            let mut last = LastMessage::default();
            let mut decode = |id, kind: &Kind| {
                let payload = Message { id, kind: kind.clone() }.encode(dialect).concat().into();
                let (receiver, message) = last.decode(&payload, dialect).unwrap();
                assert_eq!(receiver, id);
                message
            };
            let is_same =
                |one: &PreparedMessage, other: &PreparedMessage| one.payload().as_ptr() == other.payload().as_ptr();
            let (text, binary) = (Kind::Text("same".to_owned()), Kind::Binary("same".into()));
            let first = decode(1, &text);
            assert!(is_same(&first, &decode(u64::MAX, &text)) && is_same(&first, &decode(1, &text)));
            // The first messages are kept, so no later one is at the same address.
            let second = decode(1, &binary);
            let third = decode(2, &Kind::Text("sama".to_owned()));
            let fourth = decode(2, &text);
            for (message, kind) in [(&second, &binary), (&fourth, &text)] {
                assert_eq!(message.payload(), "same");
                assert_eq!(message.kind() == websocket_connection::MessageKind::Text, matches!(kind, Kind::Text(_)));
                assert!(!is_same(&first, message));
            }
            assert_eq!(third.payload(), "sama");
            assert_eq!(decode(3, &Kind::Text(String::new())).payload(), "");
        }
    }

    #[test]
    fn an_invalid_payload_is_refused_after_a_message() {
        let mut last = LastMessage::default();
        let message = Message { id: 1, kind: Kind::Text("same".to_owned()) }.encode(Dialect::Shipped).concat();
        last.decode(&message.clone().into(), Dialect::Shipped).unwrap();
        for length in 0..message.len() {
            assert!(last.decode(&Bytes::copy_from_slice(&message[..length]), Dialect::Shipped).is_err());
        }
        let mut invalid = message;
        invalid[16] = 0xFF;
        assert!(last.decode(&invalid.into(), Dialect::Shipped).is_err());
    }
}
