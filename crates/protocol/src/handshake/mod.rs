//! The opening handshake of both roles (RFC 6455 section 4): bytes in, bytes and values out.
//!
//! | role | step | what does it |
//! | --- | --- | --- |
//! | client | writes the request | [`ClientHandshake::encode`] |
//! | server | reads its head | [`RequestReader`], strictly; a server with an HTTP library does not need it |
//! | server | checks it | [`ServerHandshake::new`]; a [`Rejection`] has the response that refuses it |
//! | server | answers | [`ServerHandshake::response`], which [`encode_response`] turns into bytes |
//! | client | reads the head of the answer | [`ResponseReader`], which accepts every head that browsers accept |
//! | client | checks it | [`ClientHandshake::check`] |
//!
//! The heads of requests and responses are limited to [`MAX_HEAD`]. The caller limits the time of a handshake, decides which
//! origins may connect, and negotiates extensions: [`Agreement::extensions`] and [`ServerHandshake::extensions`] return what
//! the peer wrote, for [`Offer::accept`](crate::deflate::Offer::accept) and [`deflate::answer`](crate::deflate::answer).
//!
//! # Example
//!
//! Two ends shake hands in memory, and exchange a message:
//!
//! ```
//! use bytes::BytesMut;
//! use std::time::Instant;
//! use websocket_protocol::{
//!     Config, Connection, Message, MessageRef, Role,
//!     handshake::{ClientHandshake, RequestReader, ResponseReader, ServerHandshake, encode_response},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The client asks. A program takes 16 random bytes for the key.
//! let offered = ["chat".to_owned()];
//! let mut client = ClientHandshake::new("/feed", "example.com", [7; 16]);
//! client.subprotocols = &offered;
//! let mut to_server = BytesMut::from(&client.encode()?[..]);
//!
//! // The server answers. `None` would mean that the rest of the head has yet to arrive.
//! let request = RequestReader::new().read(&mut to_server)?.ok_or("the request is incomplete")?;
//! let server = match ServerHandshake::new(&request, false) {
//!     Ok(server) => server,
//!     // A server writes this, and closes the connection.
//!     Err(rejection) => panic!("{:?}", encode_response(&rejection.response())),
//! };
//! let subprotocol = server.subprotocols().first().map(String::as_str);
//! let mut to_client = BytesMut::from(&encode_response(&server.response(subprotocol, None))[..]);
//!
//! // The client checks the answer. Bytes behind it are the server's first frames.
//! let head = ResponseReader::new().read(&mut to_client)?.ok_or("the answer is incomplete")?;
//! let agreement = client.check(&head)?;
//! assert_eq!(agreement.subprotocol.as_deref(), Some("chat"));
//!
//! // The connection is open on both ends.
//! let now = Instant::now();
//! let mut client = Connection::new(Config::new(Role::Client), Box::new(|| [1, 2, 3, 4]), now);
//! let mut server = Connection::new(Config::new(Role::Server), Box::new(|| [0; 4]), now);
//! client.receive_bytes(&to_client, now);
//! server.receive_bytes(&to_server, now);
//! assert!(client.send(MessageRef::Text("hello")).is_ready());
//! let bytes = client.transmit().to_vec();
//! client.transmitted(bytes.len());
//! server.receive_bytes(&bytes, now);
//! assert_eq!(server.try_receive(), Some(Message::Text("hello".into())));
//! # Ok(())
//! # }
//! ```

mod client;
pub(crate) mod extensions;
mod fields;
mod key;
mod rejection;
mod request;
mod response;
mod server;
mod target;

pub use client::{Agreement, AnswerError, ClientHandshake, InvalidRequest};
pub use fields::{elements, is_handshake_field, is_token};
pub use key::{accept_value, key};
pub use rejection::{Rejection, encode_response, refusal};
pub use request::RequestReader;
pub use response::{FieldFault, ResponseError, ResponseHead, ResponseReader};
pub use server::ServerHandshake;
pub use target::check_request;

/// The largest head of a request, or of a response together with the interim responses before it, in bytes. The number of
/// its fields has no limit of its own.
pub const MAX_HEAD: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::{self, MemoryBudget, Offer, Options};
    use bytes::BytesMut;
    use http::HeaderValue;

    #[test]
    fn permessage_deflate_is_negotiated() {
        let budget = MemoryBudget::new(0);
        let offer = Offer::new(Options::default(), &budget);
        let mut client = ClientHandshake::new("/", "a", [0; 16]);
        client.extensions = Some(HeaderValue::from_str(offer.header()).unwrap());

        let mut wire = BytesMut::from(&client.encode().unwrap()[..]);
        let request = RequestReader::new().read(&mut wire).unwrap().unwrap();
        let server = ServerHandshake::new(&request, false).unwrap();
        let offers = server.extensions().iter().map(|offer| offer.as_bytes());
        let answer = deflate::answer(offers, Options::default(), &budget).unwrap().unwrap();
        let chosen = HeaderValue::from_str(&answer.header).unwrap();

        let mut wire = BytesMut::from(&encode_response(&server.response(None, Some(&chosen)))[..]);
        let head = ResponseReader::new().read(&mut wire).unwrap().unwrap();
        let agreement = client.check(&head).unwrap();
        let answered = agreement.extensions.iter().map(|extension| extension.as_bytes());
        assert!(offer.accept(answered).unwrap().is_some());
    }
}
