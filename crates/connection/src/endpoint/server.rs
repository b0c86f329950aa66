//! Requests for an upgrade: the feature `server`.

use super::Endpoint;
use crate::{
    ConnectError, Error, Reason, Refusal, Upgrade, observe::record::Attempt, open::accept::Admission, settings::origin,
};
use http::{HeaderMap, uri::Authority};
use websocket_protocol::Role;

impl Endpoint {
    /// Checks an HTTP/1.1 request that hyper received, against [`check_request`](crate::check_request), every rule of
    /// RFC 6455 section 4.2.1 and the setting `allow-origin`, and takes a permit for its connection. `secure` says that
    /// it came over TLS.
    ///
    /// # Errors
    /// [`Refusal`] for an invalid request, with 403 for a page of an origin that is not allowed, and with 503 when a
    /// limit of connections is reached.
    pub fn upgrade<B>(&self, request: &mut http::Request<B>, secure: bool) -> Result<Upgrade, Refusal> {
        Upgrade::new(request, secure, |fields, authority| self.admit(fields, authority, secure))
    }

    /// Checks where a request for an upgrade comes from, and takes a permit for its connection.
    pub(super) fn admit(&self, fields: &HeaderMap, authority: &Authority, secure: bool) -> Result<Admission, Refusal> {
        let attempt = Attempt::begin(&self.host.metrics, &self.warnings, Role::Server, None);
        if let Err(origin) = origin::check(fields, authority, secure, &self.host.settings.allow_origin) {
            let of = origin.map_or("an unknown origin".to_owned(), |origin| format!("the origin {origin}"));
            let why = format!("pages of {of} may not open WebSockets here; the setting `allow-origin` can allow it");
            attempt.failed(ConnectError::new(Reason::Denied { address: None }, Error::AuthenticationFailed(why)));
            return Err(Refusal::FOREIGN);
        }
        match self.permits() {
            Ok(permits) => Ok(Admission { attempt, endpoint: self.clone(), permits }),
            Err(failure) => {
                // The settings that it names are for operators.
                attempt.failed(failure);
                Err(Refusal::FULL)
            }
        }
    }
}
