//! HTTP requests and responses as guests have them.

mod request;
mod response;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

pub(super) use request::read_request;
pub(super) use response::write_response;

/// Why a request does not reach the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub(super) struct Refused {
    /// What the client is answered.
    pub(super) status: StatusCode,
    /// What is wrong with the request.
    pub(super) reason: String,
}

impl Refused {
    /// The response that tells the client.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        plain(self.status, format!("{}\n", self.reason))
    }
}

fn bad(reason: impl Into<String>) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, reason: reason.into() }
}

/// A response of the host itself.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    response
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
