//! The WebSocket protocol (RFC 6455) without I/O. Bytes, the time and random bytes go in; bytes to write, the next
//! timeout, messages and events come out. The crate opens no socket, reads no clock, starts no thread and writes no log,
//! so that the same protocol runs over tokio, inside a WebAssembly component, and in tests in virtual time.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`frame`] | reads and writes single frames: headers, masks, the checks of RFC 6455 section 5 |
//! | [`message`] | assembles frames into messages, and writes messages as frames |
//! | [`close`] | close codes (RFC 6455 section 7.4) |
//! | [`deflate`] | compresses messages (RFC 7692): negotiation, compressor, inflater |
//! | [`handshake`] | the opening handshake of both roles (RFC 6455 section 4) |
//! | [`connection`] | the state of one open connection: reading ahead, pings, keep-alive, closing, violations, batching |
//!
//! Two ends that talk in memory:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use websocket_protocol::{Config, Connection, Message, MessageRef, Role};
//!
//! let now = Instant::now();
//! let mut client = Connection::new(Config::new(Role::Client), Box::new(|| [1, 2, 3, 4]), now);
//! let mut server = Connection::new(Config::new(Role::Server), Box::new(|| [0; 4]), now);
//!
//! assert!(client.send(MessageRef::Text("hello")).is_ready());
//! let bytes = client.transmit().to_vec(); // what a socket would carry
//! client.transmitted(bytes.len());
//!
//! server.receive_bytes(&bytes, now);
//! assert_eq!(server.try_receive(), Some(Message::Text("hello".into())));
//! ```

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod close;
pub mod connection;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod message;
mod violation;

pub use close::CloseInfo;
pub use connection::{Config, Connection, Failure};
pub use message::{InvalidMessage, Message, MessageKind, MessageRef, PreparedMessage};
pub use violation::Violation;

/// Which end of the connection this is. A client masks what it sends; a server does not (RFC 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that sent the opening handshake.
    Client,
    /// The end that accepted it.
    Server,
}

impl Role {
    /// `client` or `server`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }

    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// Returns four unpredictable bytes. A client asks it for the mask of each frame (RFC 6455 section 10.3).
pub type RandomSource = Box<dyn FnMut() -> [u8; 4] + Send>;
