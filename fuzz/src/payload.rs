//! What guests of the pointer-payload ABI hand over, and what they are handed.

use std::fmt::Debug;
use websocket_payload_abi::{
    Dialect, Generation, Message, NewSession, Request, Response, Session, StoreCall, decode_id,
};

const STORE_CALLS: [&str; 9] = ["Count", "Delete", "Find", "Get", "Has", "Insert", "Update", "Clear", "Launch"];

/// Decodes the bytes behind the first as the payload that the first one says: no bytes are two payloads, and no
/// payload has two forms.
pub fn payload(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let dialect = if kind & 0x80 == 0 { Dialect::Shipped } else { Dialect::Proposal };
    let generation = if kind & 0x40 == 0 { Generation::Newer } else { Generation::Older };
    match kind & 0x3F {
        0 => same(payload, Request::decode(payload, generation), |request| {
            request.encode(generation).expect("what an older guest was told it can be told").to_vec()
        }),
        1 => same(payload, Response::decode(payload), |response| response.encode().to_vec()),
        2 => same(payload, Message::decode(&payload.to_vec().into(), dialect), |message| {
            message.encode(dialect).concat()
        }),
        3 => same(payload, Session::decode(payload, generation), |session| {
            Session::encode(session.as_ref(), generation).to_vec()
        }),
        4 => same(payload, NewSession::decode(payload), |session| session.encode().to_vec()),
        5 => same(payload, decode_id(payload), |id| id.to_le_bytes().to_vec()),
        6 => {
            if let Ok(session) = NewSession::decode_either(payload) {
                assert!(payload.ends_with(session.data.as_bytes()));
            }
        }
        other => {
            let name = STORE_CALLS[usize::from(other) % STORE_CALLS.len()];
            same(payload, StoreCall::decode(name, payload), |call| {
                let (same, payload) = call.encode();
                assert_eq!(same, name);
                payload.to_vec()
            });
        }
    }
}

fn same<T>(payload: &[u8], decoded: Result<T, impl Debug>, encode: impl FnOnce(T) -> Vec<u8>) {
    if let Ok(value) = decoded {
        assert_eq!(encode(value), payload);
    }
}
