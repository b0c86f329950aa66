//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`Offer`] and [`answer`] negotiate the extension in the opening handshake. What they agree on is a [`Compression`], which
//! gives a connection its [`Compressor`] and its [`Inflater`].
//!
//! Memory is bounded. A compressor or an inflater of zlib is taken from a pool of the current thread while a message is processed,
//! and returned at the end of the message. Context takeover (RFC 7692 section 4.3) is the last bytes of the messages
//! before, which become the dictionary of the pooled compressor or inflater. They count against a [`MemoryBudget`]; once it
//! is spent, connections are negotiated without context takeover.
//!
//! ```
//! use bytes::BytesMut;
//! use websocket_protocol::deflate::{self, MemoryBudget, Offer, Options};
//!
//! let budget = MemoryBudget::new(64 << 20);
//! let offer = Offer::new(Options::default(), &budget);
//! // The server reads the offer in `Sec-WebSocket-Extensions`, and answers in the same header.
//! let answer = deflate::answer([offer.header().as_bytes()], Options::default(), &budget).unwrap().unwrap();
//! let mut client = offer.accept([answer.header.as_bytes()]).unwrap().unwrap();
//! let mut server = answer.compression;
//!
//! let text = "a message that repeats itself, a message that repeats itself";
//! let (mut compressed, mut inflated) = (BytesMut::new(), BytesMut::new());
//! assert!(client.compressor().unwrap().message(text.as_bytes(), &mut compressed));
//! let inflater = server.inflater();
//! inflater.inflate(&mut &compressed[..], 1000, &mut inflated).unwrap();
//! inflater.finish(1000, &mut inflated).unwrap();
//! assert_eq!(inflated, text);
//! ```

mod budget;
mod compressor;
mod history;
mod inflater;
mod negotiation;
mod pool;
#[cfg(test)]
mod tests;

pub use budget::{MemoryBudget, MemoryGrant};
pub use compressor::Compressor;
pub use inflater::{Inflater, InvalidData};
pub use negotiation::{Answer, NegotiationError, Offer, answer};

use crate::Role;

/// The name of the extension in `Sec-WebSocket-Extensions`.
pub const EXTENSION: &str = "permessage-deflate";
/// The fewest window bits that a compressor can use. RFC 7692 allows 8, which zlib cannot.
pub const MIN_WINDOW_BITS: u8 = 9;
/// The most window bits, and what holds where none are negotiated (RFC 7692 section 7.1.2).
pub const MAX_WINDOW_BITS: u8 = 15;
/// What ends each compressed message and is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// What one end offers or accepts, and how it compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether this end's compressor may refer to earlier messages. It then keeps the last 4 KiB of them.
    pub compress_takeover: bool,
    /// Whether the peer's compressor may refer to earlier messages. This end then keeps the last 2^window bits bytes of
    /// them, 32 KiB for 15.
    pub inflate_takeover: bool,
    /// The most window bits that this end compresses with, 9 to 15. Other values become the nearest of these.
    pub compress_window_bits: u8,
    /// The most window bits that the peer may compress with, 9 to 15. Other values become the nearest of these. A client
    /// that offers less than 15 gets no compression from a server that supports only 15.
    pub inflate_window_bits: u8,
    /// The level of compression, 1 (fastest) to 9 (smallest).
    pub level: u8,
    /// Messages of fewer bytes are sent uncompressed.
    pub min_size: usize,
}

impl Default for Options {
    /// No context takeover, 15 window bits in both directions, level 6, and messages of at least 256 bytes.
    fn default() -> Self {
        Options {
            compress_takeover: false,
            inflate_takeover: false,
            compress_window_bits: MAX_WINDOW_BITS,
            inflate_window_bits: MAX_WINDOW_BITS,
            level: 6,
            min_size: 256,
        }
    }
}

impl Options {
    /// These options, with every value in its range.
    fn in_range(self) -> Self {
        Options {
            compress_window_bits: self.compress_window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS),
            inflate_window_bits: self.inflate_window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS),
            level: self.level.clamp(1, 9),
            ..self
        }
    }

    fn without_takeover(self) -> Self {
        Options { compress_takeover: false, inflate_takeover: false, ..self }
    }
}

/// The parameters of the extension that both ends agreed on (RFC 7692 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Parameters {
    /// The server's compressor does not refer to earlier messages.
    pub server_no_context_takeover: bool,
    /// The client's compressor does not refer to earlier messages.
    pub client_no_context_takeover: bool,
    /// The window of the server's compressor, 8 to 15 bits.
    pub server_max_window_bits: u8,
    /// The window of the client's compressor, 8 to 15 bits.
    pub client_max_window_bits: u8,
}

impl Parameters {
    /// Whether the compressor of the end that plays `role` may refer to earlier messages.
    pub fn has_takeover(&self, role: Role) -> bool {
        match role {
            Role::Client => !self.client_no_context_takeover,
            Role::Server => !self.server_no_context_takeover,
        }
    }

    /// The window bits of the compressor of the end that plays `role`.
    pub fn window_bits(&self, role: Role) -> u8 {
        match role {
            Role::Client => self.client_max_window_bits,
            Role::Server => self.server_max_window_bits,
        }
    }
}

/// Agreed compression: the compressor and the inflater of one end of one connection.
#[derive(Debug)]
pub struct Compression {
    parameters: Parameters,
    min_size: usize,
    compressor: Option<Compressor>,
    inflater: Inflater,
    /// Returns the memory to the budget when the connection ends.
    grant: MemoryGrant,
}

/// What a connection keeps of its [`Compression`], besides the compressor and the inflater.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) parameters: Parameters,
    _grant: MemoryGrant,
}

impl Compression {
    /// `parameters` as the end that plays `role` uses them. `grant` has at least [`Compression::memory`] bytes.
    fn new(parameters: Parameters, role: Role, options: Options, mut grant: MemoryGrant) -> Self {
        grant.shrink(Self::memory(parameters, role, options));
        let (bits, peer) = (own_bits(parameters, role, options), role.peer());
        Compression {
            parameters,
            min_size: options.min_size,
            compressor: (bits >= MIN_WINDOW_BITS)
                .then(|| Compressor::new(bits, options.level, parameters.has_takeover(role))),
            inflater: Inflater::new(parameters.window_bits(peer), parameters.has_takeover(peer)),
            grant,
        }
    }

    /// Bytes that context takeover with `parameters` costs the end that plays `role`.
    fn memory(parameters: Parameters, role: Role, options: Options) -> usize {
        let (bits, peer) = (own_bits(parameters, role, options), role.peer());
        let compressor = parameters.has_takeover(role).then(|| compressor::history_size(bits));
        let inflater = parameters.has_takeover(peer).then(|| inflater::history_size(parameters.window_bits(peer)));
        compressor.unwrap_or(0) + inflater.unwrap_or(0)
    }

    /// The compressor with the least size of messages that it is for, the inflater, and what remains.
    pub(crate) fn split(self) -> (Option<(Compressor, usize)>, Inflater, Agreed) {
        let agreed = Agreed { parameters: self.parameters, _grant: self.grant };
        (self.compressor.map(|compressor| (compressor, self.min_size)), self.inflater, agreed)
    }

    /// What both ends agreed on.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Messages of fewer bytes are sent uncompressed.
    pub fn min_size(&self) -> usize {
        self.min_size
    }

    /// The compressor for the messages that this end sends; `None` if the server allows the client 8 window bits, with
    /// which zlib cannot compress. Everything is then sent uncompressed, as RFC 7692 section 6 allows.
    pub fn compressor(&mut self) -> Option<&mut Compressor> {
        self.compressor.as_mut()
    }

    /// The inflater for the messages that this end receives.
    pub fn inflater(&mut self) -> &mut Inflater {
        &mut self.inflater
    }

    /// Bytes of memory that this end holds: earlier messages for context takeover, and what the messages that are being
    /// compressed or inflated need.
    pub fn memory_held(&self) -> usize {
        self.compressor.as_ref().map_or(0, Compressor::memory_held) + self.inflater.memory_held()
    }
}

/// The window that the end that plays `role` compresses with.
fn own_bits(parameters: Parameters, role: Role, options: Options) -> u8 {
    parameters.window_bits(role).min(options.compress_window_bits)
}
