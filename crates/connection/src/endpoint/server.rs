//! Requests for an upgrade: the feature `server`.

use super::Endpoint;
use crate::{
    ConnectError, Error, Reason, Refusal, Upgrade,
    observe::record::Attempt,
    open::accept::{Admission, AgreedCompression},
    settings::origin,
};
use http::{HeaderMap, HeaderValue};
use websocket_protocol::{
    Role, deflate,
    handshake::{Rejection, ServerHandshake},
};

impl Endpoint {
    /// Checks an HTTP/1.1 request that hyper received, against [`check_request`](crate::check_request), every rule of
    /// RFC 6455 section 4.2.1 and the setting `allow-origin`, and takes a permit for its connection. `secure` says that
    /// it came over TLS.
    ///
    /// # Errors
    /// [`Refusal`] for an invalid request, with 403 for a page of an origin that is not allowed, and with 503 when a
    /// limit of connections is reached.
    pub fn upgrade<B>(&self, request: &mut http::Request<B>, secure: bool) -> Result<Upgrade, Refusal> {
        Upgrade::new(request, secure, |fields, handshake| self.admit(fields, handshake, secure))
    }

    /// Checks where a request for an upgrade comes from, takes a permit for its connection, and agrees on its compression.
    pub(super) fn admit(
        &self,
        fields: &HeaderMap,
        handshake: &ServerHandshake,
        secure: bool,
    ) -> Result<(Admission, Option<AgreedCompression>), Refusal> {
        let attempt = Attempt::begin(&self.host.metrics, &self.warnings, Role::Server, None);
        if let Err(origin) = origin::check(fields, handshake.authority(), secure, &self.host.settings.allow_origin) {
            let of = origin.map_or("an unknown origin".to_owned(), |origin| format!("the origin {origin}"));
            let why = format!("pages of {of} may not open WebSockets here; the setting `allow-origin` can allow it");
            attempt.failed(ConnectError::new(Reason::Denied { address: None }, Error::AuthenticationFailed(why)));
            return Err(Refusal::FOREIGN);
        }
        match self.permits() {
            Ok(permits) => {
                let agreed = self.answer(handshake)?;
                Ok((Admission { attempt, endpoint: self.clone(), permits }, agreed))
            }
            Err(failure) => {
                // The settings that it names are for operators.
                attempt.failed(failure);
                Err(Refusal::FULL)
            }
        }
    }

    /// What to answer a client's offer of compression.
    fn answer(&self, handshake: &ServerHandshake) -> Result<Option<AgreedCompression>, Refusal> {
        if !self.settings().compress {
            return Ok(None);
        }
        let offers = handshake.extensions().iter().map(String::as_bytes);
        let answer = deflate::answer(offers, self.settings().compression(), &self.host.budget);
        let Some(answer) = answer.map_err(|_| Rejection::Extensions)? else { return Ok(None) };
        // It consists of tokens and digits.
        let header = HeaderValue::from_str(&answer.header).map_err(|_| Rejection::Extensions)?;
        Ok(Some(AgreedCompression { header, compression: answer.compression }))
    }
}
