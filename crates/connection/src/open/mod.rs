//! Opening a connection: the request, where it may go, DNS, TCP, proxies, TLS, and the opening handshake of both roles.

#[cfg(feature = "server")]
pub(crate) mod accept;
pub(crate) mod dial;
pub(crate) mod handshake;
pub(crate) mod head;
pub(crate) mod hook;
pub(crate) mod opening;
pub(crate) mod policy;
pub(crate) mod redirect;
pub(crate) mod refusal;
pub(crate) mod request;
#[cfg(feature = "tls")]
pub mod tls;
