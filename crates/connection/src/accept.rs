//! The opening handshake of a server (RFC 6455 section 4.2), over hyper.

use crate::{engine::derive_accept_key, handshake::lists, request::is_token};
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;

/// A request that may become a WebSocket. Answer it with [`Upgrade::response`], then hand it to
/// [`Endpoint::accept`](crate::Endpoint::accept).
pub struct Upgrade {
    pub(crate) on_upgrade: OnUpgrade,
    pub(crate) subprotocol: Option<String>,
    pub(crate) target: String,
    accept: String,
    offered: Vec<String>,
}

impl Upgrade {
    /// Checks a request that hyper received; its connection must have been served with upgrades.
    ///
    /// # Errors
    /// [`Refusal`] for a request that is not one of RFC 6455 section 4.2.1.
    pub fn new<B>(request: &mut Request<B>) -> Result<Self, Refusal> {
        let (accept, offered) = check(request)?;
        let target = request.uri().to_string();
        Ok(Upgrade { on_upgrade: hyper::upgrade::on(request), subprotocol: None, target, accept, offered })
    }

    /// The subprotocols that the client offers, most wanted first.
    pub fn subprotocols(&self) -> &[String] {
        &self.offered
    }

    /// Chooses one of the offered subprotocols; what was not offered is not chosen.
    pub fn choose(&mut self, subprotocol: &str) {
        self.subprotocol = self.offered.iter().find(|offered| *offered == subprotocol).cloned();
    }

    /// The response that upgrades the request.
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        // Both are made of characters that header values allow: base64, and a token.
        fields.extend(HeaderValue::from_str(&self.accept).ok().map(|value| (header::SEC_WEBSOCKET_ACCEPT, value)));
        let chosen = self.subprotocol.as_deref().and_then(|name| HeaderValue::from_str(name).ok());
        fields.extend(chosen.map(|value| (header::SEC_WEBSOCKET_PROTOCOL, value)));
        response
    }
}

/// The key to accept with and the subprotocols on offer.
fn check<B>(request: &Request<B>) -> Result<(String, Vec<String>), Refusal> {
    let fields = request.headers();
    let refuse = |status, reason| Err(Refusal { status, reason });
    let bad = |reason| refuse(StatusCode::BAD_REQUEST, reason);
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
    }
    if request.version() != Version::HTTP_11 {
        return bad("a WebSocket begins with HTTP/1.1");
    }
    if !lists(fields, header::UPGRADE, "websocket") || !lists(fields, header::CONNECTION, "upgrade") {
        return refuse(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket; ask for an upgrade");
    }
    if !fields.contains_key(header::HOST) {
        return bad("the request has no Host");
    }
    if fields.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return refuse(StatusCode::UPGRADE_REQUIRED, "the WebSocket version is 13");
    }
    let mut keys = fields.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if BASE64.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16) => key,
        _ => return bad("Sec-WebSocket-Key is not one key of 16 bytes in base64"),
    };
    let Some(offered) = subprotocols(fields) else {
        return bad("Sec-WebSocket-Protocol is not a list of distinct tokens");
    };
    Ok((derive_accept_key(key.as_bytes()), offered))
}

fn subprotocols(fields: &HeaderMap) -> Option<Vec<String>> {
    let mut offered: Vec<String> = Vec::new();
    for value in fields.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if !is_token(name) || offered.iter().any(|other| other == name) {
                return None;
            }
            offered.push(name.to_owned());
        }
    }
    Some(offered)
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

impl Refusal {
    /// The response that tells the client, with the reason as its body (RFC 6455 section 4.2.2).
    pub fn response<B: From<String>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(format!("{}\n", self.reason)));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::UPGRADE_REQUIRED {
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            fields.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good request with some fields set to other values, or removed.
    fn request(changes: &[(&str, Option<&str>)]) -> Request<()> {
        let mut fields = vec![
            ("host", "example.com"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in changes {
            fields.retain(|(other, _)| other != name);
            fields.extend(value.map(|value| (*name, value)));
        }
        let builder = fields.into_iter().fold(Request::builder(), |builder, (name, value)| builder.header(name, value));
        builder.body(()).unwrap()
    }

    #[test]
    fn a_good_request_is_answered_as_in_the_rfc() {
        let mut upgrade = Upgrade::new(&mut request(&[("sec-websocket-protocol", Some("chat, log"))])).ok().unwrap();
        assert_eq!(upgrade.subprotocols(), ["chat", "log"]);
        upgrade.choose("other");
        assert!(!upgrade.response::<()>().headers().contains_key("sec-websocket-protocol"));
        upgrade.choose("log");
        let response = upgrade.response::<()>();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "log");
    }

    #[test]
    fn every_check_of_the_rfc_refuses_with_a_status_of_its_own() {
        for (name, value, status) in [
            ("host", None, 400),
            ("connection", Some("close"), 426),
            ("upgrade", Some("h2c"), 426),
            ("sec-websocket-version", Some("8"), 426),
            ("sec-websocket-version", None, 426),
            ("sec-websocket-key", None, 400),
            ("sec-websocket-key", Some("c2hvcnQ="), 400),
            ("sec-websocket-protocol", Some("a, a"), 400),
            ("sec-websocket-protocol", Some("a b"), 400),
        ] {
            let refusal = check(&request(&[(name, value)])).unwrap_err();
            assert_eq!(refusal.response::<String>().status(), status, "{name}: {value:?}");
        }
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(check(&post).unwrap_err().status, 405);
    }
}
