//! Why a connection did not open: what the guest is told, and what operators are.

use crate::Error;

/// Why a connection did not open, as logs and counters tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// What the guest asks for cannot be asked.
    InvalidRequest,
    /// The guest, or the host, holds as many connections as it may.
    Limit,
    /// The policy does not grant the destination.
    Denied,
    /// DNS, TCP or the proxy failed, or the transport did before the handshake was done.
    Unreachable,
    /// The TLS session did not open.
    Tls,
    /// The server or the proxy answered, and did not say yes.
    Refused,
    /// The server's answer breaks RFC 6455, or is not HTTP.
    Protocol,
    /// It took longer than its limit.
    Timeout,
    /// Whoever wanted the connection did not wait for it.
    Abandoned,
}

impl Reason {
    /// The names, in the order of the variants.
    pub(crate) const NAMES: [&str; Reason::Abandoned as usize + 1] =
        ["invalid_request", "limit", "denied", "unreachable", "tls", "refused", "protocol", "timeout", "abandoned"];
}

/// A connection that did not open.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the guest is told.
    pub(crate) error: Error,
    pub(crate) reason: Reason,
    /// What operators are told beside the reason. It quotes nothing that a guest or a server wrote: that may
    /// repeat a token of the URL.
    pub(crate) detail: Option<String>,
}

impl Failure {
    /// A failure whose error the host composed.
    pub(crate) fn new(reason: Reason, error: Error) -> Self {
        Failure { detail: Some(error.to_string()), reason, error }
    }

    /// A request that breaks the contract: its error quotes it.
    pub(crate) fn invalid_request(error: Error) -> Self {
        Failure { error, reason: Reason::InvalidRequest, detail: None }
    }
}

/// For errors of the way, whose variants tell them apart.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match error {
            Error::Protocol(_) => Reason::Protocol,
            Error::Timeout => Reason::Timeout,
            Error::AuthenticationFailed(_) => Reason::Refused,
            _ => Reason::Unreachable,
        };
        Failure::new(reason, error)
    }
}
