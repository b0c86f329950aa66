//! Why a connection did not open: the reason for programs, the error for guests, and the detail for operators.

use crate::{Error, error::chain};
use http::{HeaderMap, StatusCode};
use std::{
    error, fmt, io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// Why a connection did not open. [`ConnectError::reason`] is for programs, the text is for people, and
/// [`source`](error::Error::source) is the cause that the operating system, TLS or the HTTP library reported. It
/// becomes an [`Error`], which has the variants of the WIT package, with the same text.
pub struct ConnectError(Box<Inner>);

struct Inner {
    error: Error,
    reason: Reason,
    at_proxy: bool,
    /// What operators read beside the reason. It quotes nothing that a guest or a server wrote: that may repeat a
    /// token of the URL.
    detail: Option<String>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What failed while a connection opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The URL, a subprotocol or a header field is invalid. The network was not used.
    InvalidRequest,
    /// As many connections are open as a setting allows.
    Limit {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The policy does not grant the destination.
    Denied {
        /// The address that is not granted, of a host that is; `None` when the host is not granted.
        address: Option<IpAddr>,
    },
    /// DNS has no address for the name, or cannot be asked.
    Dns,
    /// No address accepted TCP. The kind is that of the last address.
    Tcp(io::ErrorKind),
    /// The TLS session did not open.
    Tls(TlsReason),
    /// The connection ended or failed before the handshake was complete.
    Transport(io::ErrorKind),
    /// The server, or the proxy, answered with another status.
    Refused {
        /// The status of the response.
        status: StatusCode,
        /// The header fields of the response.
        headers: HeaderMap,
    },
    /// This end answered the client's request with this status.
    RefusedHere {
        /// The status of the response.
        status: StatusCode,
    },
    /// The SOCKS5 proxy refused the credentials, or the destination.
    RefusedByProxy,
    /// The response is not HTTP, or RFC 6455 does not allow it; or the proxy's is not SOCKS5.
    Protocol,
    /// The time limit passed during this step.
    Timeout(Step),
}

/// What failed in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsReason {
    /// The server's certificate is invalid, for another name, or not trusted.
    Certificate,
    /// The server ended the handshake with this alert (RFC 8446 section 6).
    Alert(u8),
    /// The two ends have no version or cipher in common, or the server does not speak TLS.
    Protocol,
    /// The connection ended or failed during the handshake of TLS.
    Transport(io::ErrorKind),
    /// The URL, or that of a redirect, is `wss://`, and this crate was built without the feature `tls`. It was not dialled.
    Unavailable,
}

/// Of an error of a TLS stream.
impl From<&io::Error> for TlsReason {
    fn from(error: &io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return super::tls::reason(error);
        }
        TlsReason::Transport(error.kind())
    }
}

/// A step of opening a connection, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Looking the host's name up.
    Dns,
    /// Connecting to one of its addresses, or to the proxy.
    Tcp,
    /// Asking the proxy for a tunnel.
    Proxy,
    /// Opening the TLS session.
    Tls,
    /// The opening handshake.
    Handshake,
}

impl Step {
    const ALL: [Step; 5] = [Step::Dns, Step::Tcp, Step::Proxy, Step::Tls, Step::Handshake];
}

/// The step that a connect has reached, for when its time is over.
#[derive(Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    pub(crate) fn reach(&self, step: Step) {
        self.0.store(step as u8, Relaxed);
    }

    pub(crate) fn timeout(&self) -> ConnectError {
        let step = Step::ALL.get(usize::from(self.0.load(Relaxed))).copied().unwrap_or(Step::Dns);
        ConnectError::new(Reason::Timeout(step), Error::Timeout)
    }
}

impl ConnectError {
    /// A failure whose error the host composed.
    pub(crate) fn new(reason: Reason, error: Error) -> Self {
        let detail = Some(error.to_string());
        ConnectError(Box::new(Inner { error, reason, at_proxy: false, detail, source: None }))
    }

    /// A failure whose error quotes the guest or the server, so that operators get another text, or none.
    pub(crate) fn quoting(reason: Reason, error: Error, detail: Option<String>) -> Self {
        ConnectError(Box::new(Inner { error, reason, at_proxy: false, detail, source: None }))
    }

    /// A request that breaks the contract: its error quotes it.
    pub(crate) fn invalid_request(error: Error) -> Self {
        ConnectError::quoting(Reason::InvalidRequest, error, None)
    }

    /// A response that breaks the protocol.
    pub(crate) fn protocol(error: Error) -> Self {
        ConnectError::new(Reason::Protocol, error)
    }

    /// A request to `wss://` in a build without TLS.
    pub(crate) fn without_tls() -> Self {
        let why = "wss:// needs TLS, which this program was built without; turn on the feature `tls` of \
                   websocket-connection";
        ConnectError::new(Reason::Tls(TlsReason::Unavailable), Error::ConnectionFailed(why.to_owned()))
    }

    /// A transport that failed while the handshake was in progress.
    pub(crate) fn transport(what: &str, cause: io::Error) -> Self {
        let error = Error::ConnectionFailed(format!("{what}: {}", chain(&cause)));
        // A server that misses a client certificate says so once the session is open (RFC 8446 section 4.4.2.4).
        let reason = match TlsReason::from(&cause) {
            TlsReason::Transport(kind) => Reason::Transport(kind),
            tls => Reason::Tls(tls),
        };
        ConnectError::new(reason, error).caused_by(cause)
    }

    /// A name without an address.
    pub(crate) fn dns(name: &str, cause: Option<io::Error>) -> Self {
        let why = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let error = Error::ConnectionFailed(format!("DNS has no address for {name}{why}"));
        let failure = ConnectError::new(Reason::Dns, error);
        match cause {
            Some(cause) => failure.caused_by(cause),
            None => failure,
        }
    }

    /// A host none of whose addresses accepted TCP.
    pub(crate) fn tcp(whom: &str, mut errors: Vec<(SocketAddr, io::Error)>) -> Self {
        let each: Vec<_> = errors.iter().map(|(address, error)| format!("{address}: {error}")).collect();
        let Some((_, last)) = errors.pop() else { return ConnectError::dns(whom, None) };
        let error = Error::ConnectionFailed(format!("cannot reach {whom}: {}", each.join("; ")));
        ConnectError::new(Reason::Tcp(last.kind()), error).caused_by(last)
    }

    /// A TLS session that did not open; `error` says so to people.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(error: Error, cause: io::Error) -> Self {
        ConnectError::new(Reason::Tls(TlsReason::from(&cause)), error).caused_by(cause)
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that this happened at the proxy, or on the way to it.
    pub(crate) fn at_the_proxy(mut self) -> Self {
        self.0.at_proxy = true;
        self
    }

    /// Adds something that may have led to it to the text.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        if let Error::ConnectionFailed(text) | Error::Protocol(text) | Error::AuthenticationFailed(text) =
            &mut self.0.error
        {
            for text in [text].into_iter().chain(&mut self.0.detail) {
                text.push_str("; ");
                text.push_str(note);
            }
        }
        self
    }

    /// What failed.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// Whether it failed at the proxy, or on the way to it.
    pub fn is_at_proxy(&self) -> bool {
        self.0.at_proxy
    }

    /// The error with the variants of the WIT package.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    pub(crate) fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { error, reason, at_proxy, detail: _, source } = &*self.0;
        let mut debug = f.debug_struct("ConnectError");
        debug.field("reason", reason).field("at_proxy", at_proxy).field("error", error).field("source", source).finish()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.error.fmt(f)
    }
}

impl error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<ConnectError> for Error {
    fn from(failure: ConnectError) -> Self {
        failure.0.error
    }
}

/// The classes of failures that logs and counters tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The guest's request is invalid.
    InvalidRequest,
    /// The guest, or the host, holds as many connections as it may.
    Limit,
    /// The policy does not grant the destination.
    Denied,
    /// DNS, TCP or the proxy failed, or the transport did before the handshake was done.
    Unreachable,
    /// The TLS session did not open.
    Tls,
    /// The server or the proxy answered with another status, or this server did.
    Refused,
    /// The server's answer breaks RFC 6455, or is not HTTP.
    Protocol,
    /// It took longer than its limit.
    Timeout,
    /// The guest did not wait for the connection.
    Abandoned,
}

impl Class {
    /// The names, in the order of the variants.
    pub(crate) const NAMES: [&str; Class::Abandoned as usize + 1] =
        ["invalid_request", "limit", "denied", "unreachable", "tls", "refused", "protocol", "timeout", "abandoned"];
}

impl From<&Reason> for Class {
    fn from(reason: &Reason) -> Self {
        match reason {
            Reason::InvalidRequest => Class::InvalidRequest,
            Reason::Limit { .. } => Class::Limit,
            Reason::Denied { .. } => Class::Denied,
            Reason::Dns | Reason::Tcp(_) | Reason::Transport(_) => Class::Unreachable,
            Reason::Tls(_) => Class::Tls,
            Reason::Refused { .. } | Reason::RefusedHere { .. } | Reason::RefusedByProxy => Class::Refused,
            Reason::Protocol => Class::Protocol,
            Reason::Timeout(_) => Class::Timeout,
        }
    }
}
