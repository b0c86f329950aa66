//! The one error of the core, with the stable meaning that every guest ABI translates.

pub(crate) mod connect;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use websocket_protocol::{
    Failure, InvalidMessage, Violation,
    connection::{ReceiveError, SendError},
};

/// Why an operation on a connection failed. The variants are those of the WIT package's
/// `websocket-error`; the texts are diagnostics for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DNS, TCP, TLS, a refused upgrade or a connection limit: the connection never opened.
    #[error("connection failed: {0}")]
    ConnectionFailed(String),
    /// The URL is not an absolute `ws://` or `wss://` URL that can be dialled.
    #[error("invalid URL: {0}")]
    InvalidUrl(String),
    /// The peer, or the request to it, broke RFC 6455.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// The peer answered 401, 403 or 407, or the policy does not grant the destination.
    #[error("not authorized: {0}")]
    AuthenticationFailed(String),
    /// A time limit passed first: connecting, sending, closing or the keep-alive.
    #[error("timed out")]
    Timeout,
    /// The message cannot be sent, or was too large to accept.
    #[error("invalid message: {0}")]
    InvalidMessage(String),
    /// The transport failed after the connection was open.
    #[error("transport failed: {0}")]
    Io(String),
}

impl From<InvalidMessage> for Error {
    fn from(error: InvalidMessage) -> Self {
        let advice = match error {
            InvalidMessage::TooLarge { .. } => "; send less at once or connect with a larger max-message-size",
            _ => "",
        };
        Error::InvalidMessage(format!("{error}{advice}"))
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::TooLarge { .. } | Violation::FrameTooLarge { .. } => {
                Error::InvalidMessage(violation.to_string())
            }
            _ => Error::Protocol(violation.to_string()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Violation(violation) => violation.into(),
            Failure::KeepAlive | Failure::CloseTimeout => Error::Timeout,
            Failure::Aborted => Error::Io("the host's runtime has stopped".to_owned()),
            Failure::Read { error, within_message } => {
                let within = if within_message { ", in the middle of a message" } else { "" };
                Error::Io(format!("{}{within}", chain(&*error)))
            }
            Failure::Write(error) => Error::Io(chain(&*error)),
            failure => Error::Io(chain(&failure)),
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Invalid(error) => error.into(),
            SendError::Write(cause) => Error::Io(chain(&*cause)),
            _ => Error::ConnectionClosed,
        }
    }
}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Failed(failure) => failure.into(),
            _ => Error::ConnectionClosed,
        }
    }
}

/// An error together with everything that caused it, in one line; those of TLS in words.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    #[cfg(feature = "tls")]
    if let Some(text) = error.downcast_ref().and_then(|error| tls::explain_session(error, tls::Side::Either)) {
        return text;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
