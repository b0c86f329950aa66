//! The opening handshake of a server (RFC 6455 section 4.2), over hyper.

use crate::{
    ConnectError, Connection, Error, Reason,
    drive::{
        driver::{Driver, Limits},
        timer::Timers,
        transport::{Permits, unwrap},
    },
    observe::record::Attempt,
    open::{
        head::{Repeated, elements, lists, single},
        request::is_token,
        target::{Refusal, check_request},
    },
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, uri::Authority};
use hyper::upgrade::OnUpgrade;
use std::{fmt, io, sync::Arc};
use websocket_protocol::{Role, handshake::accept_value};

/// A request that becomes a WebSocket. It holds one of the endpoint's connection slots. Answer it with
/// [`Upgrade::response`], then [`Upgrade::accept`] it. Dropping it frees the slot.
pub struct Upgrade {
    on_upgrade: OnUpgrade,
    subprotocol: Option<String>,
    target: String,
    accept: String,
    offered: Vec<String>,
    admission: Admission,
}

/// Shows neither the target nor what the client offers: both may hold secrets.
impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("subprotocol", &self.subprotocol).finish_non_exhaustive()
    }
}

/// What an endpoint grants to a request that it lets upgrade.
pub(crate) struct Admission {
    pub(crate) attempt: Attempt,
    pub(crate) limits: Limits,
    pub(crate) permits: Permits,
    pub(crate) timers: Arc<dyn Timers>,
}

impl Upgrade {
    /// Checks a request, and asks for admission if it is one of RFC 6455 section 4.2.1. `admit` gets the authority
    /// that the request is for.
    pub(crate) fn new<B>(
        request: &mut Request<B>,
        secure: bool,
        admit: impl FnOnce(&HeaderMap, Option<&Authority>) -> Result<Admission, Refusal>,
    ) -> Result<Self, Refusal> {
        let authority = check_request(request, secure)?;
        let (accept, offered) = check(request)?;
        let admission = admit(request.headers(), authority.as_ref())?;
        let target = request.uri().to_string();
        let on_upgrade = hyper::upgrade::on(request);
        Ok(Upgrade { on_upgrade, subprotocol: None, target, accept, offered, admission })
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

    /// Frees the connection slot, since the request is answered otherwise.
    pub fn decline(self) {
        self.admission.attempt.declined();
    }

    /// Takes over the socket once hyper has sent [`Upgrade::response`]; its connection must be served with
    /// upgrades. Must run in a tokio runtime, which then drives the connection. Cancel safe: an accept that is
    /// dropped leaves nothing behind.
    ///
    /// # Errors
    /// [`Reason::Transport`] when the client went away first.
    pub async fn accept(self) -> Result<Connection, ConnectError> {
        let Admission { attempt, limits, permits, timers } = self.admission;
        let (transport, input) = match self.on_upgrade.await {
            Ok(upgraded) => unwrap(upgraded),
            Err(error) => {
                let why = Error::ConnectionFailed(format!("the client went away before its upgrade: {error}"));
                let failure = ConnectError::new(Reason::Transport(io::ErrorKind::UnexpectedEof), why);
                return Err(attempt.failed(failure.caused_by(error)));
            }
        };
        let record = attempt.opened(self.subprotocol.as_deref(), None);
        let driver = Driver::new(transport, input, Role::Server, limits, record);
        Ok(Connection::open(driver, limits, self.target, self.subprotocol, timers.timer(), permits))
    }
}

/// Whether an element of `Sec-WebSocket-Extensions` is an extension with its parameters (RFC 6455 section 9.1). A value in
/// quotes is a token as well.
fn is_extension(element: &[u8]) -> bool {
    let Ok(element) = std::str::from_utf8(element) else { return false };
    let mut parts = element.split(';').map(str::trim);
    let is_parameter = |part: &str| match part.split_once('=') {
        None => is_token(part),
        Some((name, value)) => {
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            is_token(name.trim()) && is_token(unquoted)
        }
    };
    parts.next().is_some_and(is_token) && parts.all(is_parameter)
}

/// The key to accept with and the subprotocols on offer.
fn check<B>(request: &Request<B>) -> Result<(String, Vec<String>), Refusal> {
    let fields = request.headers();
    let refuse = |status, reason| Err(Refusal::new(status, reason));
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
    // Frames follow at once; a body would be taken for them.
    if fields.contains_key(header::TRANSFER_ENCODING)
        || fields.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0'))
    {
        return Err(Refusal::closing(StatusCode::BAD_REQUEST, "a request for an upgrade has no body"));
    }
    if fields.contains_key(header::EXPECT) {
        return refuse(StatusCode::EXPECTATION_FAILED, "a request for an upgrade has no body to expect anything for");
    }
    match single(fields, header::SEC_WEBSOCKET_VERSION) {
        Ok(Some(version)) if version == "13" => {}
        Ok(_) => return refuse(StatusCode::UPGRADE_REQUIRED, "the WebSocket version is 13"),
        Err(Repeated) => return bad("the request has more than one Sec-WebSocket-Version"),
    }
    let key = match single(fields, header::SEC_WEBSOCKET_KEY) {
        Ok(Some(key)) if is_key(key.as_bytes()) => key,
        _ => return bad("Sec-WebSocket-Key is not one key of 16 bytes in base64"),
    };
    let Some(offered) = subprotocols(fields) else {
        return bad("Sec-WebSocket-Protocol is not a list of distinct tokens");
    };
    if !elements(fields, header::SEC_WEBSOCKET_EXTENSIONS).all(is_extension) {
        return bad("Sec-WebSocket-Extensions is not a list of extensions");
    }
    Ok((accept_value(key.as_bytes()), offered))
}

/// Whether this is base64 of 16 bytes. The four spare bits of the last letter may be anything: they are not zero in the
/// key that RFC 6455 section 4.1 prints.
fn is_key(key: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.strip_suffix(b"==").is_some_and(|letters| letters.len() == 22 && letters.iter().all(is_letter))
}

fn subprotocols(fields: &HeaderMap) -> Option<Vec<String>> {
    let mut offered: Vec<String> = Vec::new();
    for name in elements(fields, header::SEC_WEBSOCKET_PROTOCOL) {
        let name = str::from_utf8(name).ok().filter(|name| is_token(name))?;
        if offered.iter().any(|other| other == name) {
            return None;
        }
        offered.push(name.to_owned());
    }
    Some(offered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, Settings};

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
        let endpoint = Endpoint::new(Settings::default()).unwrap();
        let mut request = request(&[("sec-websocket-protocol", Some("chat, log"))]);
        let mut upgrade = endpoint.upgrade(&mut request, false).ok().unwrap();
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
    fn empty_elements_of_lists_are_ignored_and_several_fields_are_one_list() {
        for (protocols, offered) in [
            (&["chat, ,log,"][..], &["chat", "log"][..]),
            (&[",", "chat", "", " log ,"], &["chat", "log"]),
            (&[""], &[]),
        ] {
            let mut request = request(&[("upgrade", Some(", h2c,")), ("connection", Some(" ,"))]);
            let fields = request.headers_mut();
            fields.append("upgrade", HeaderValue::from_static("WebSocket ,,"));
            fields.append("connection", HeaderValue::from_static(", UPGRADE"));
            for value in protocols {
                fields.append("sec-websocket-protocol", HeaderValue::from_static(value));
            }
            assert_eq!(check(&request).unwrap().1, offered, "{protocols:?}");
        }
    }

    #[test]
    fn offers_of_extensions_are_ignored_where_they_are_valid_and_refused_where_not() {
        let asked = |offer| check(&request(&[("sec-websocket-extensions", Some(offer))]));
        for offer in ["permessage-deflate", "a; b; c=1, d;e=\"f\"", " , a ;b = c", ""] {
            assert!(asked(offer).is_ok(), "{offer}");
        }
        for offer in [";;\"", "a b c", "a;", "a; =1", "a; b=", "a; b=\"", "a; b=\"c d\"", "a; b=c=d"] {
            assert_eq!(asked(offer).err().map(|refusal| refusal.status()), Some(StatusCode::BAD_REQUEST), "{offer}");
        }
    }

    #[test]
    fn a_key_is_any_base64_of_16_bytes_and_is_answered_as_received() {
        for key in ["AQIDBAUGBwgJCgsMDQ4PEC==", "AQIDBAUGBwgJCgsMDQ4PEA==", "++++++++++//////////9/=="] {
            let (accept, _) = check(&request(&[("sec-websocket-key", Some(key))])).unwrap();
            assert_eq!(accept, accept_value(key.as_bytes()));
        }
        for key in [
            "",
            "AQIDBAUGBwgJCgsMDQ4PEC",
            "AQIDBAUGBwgJCgsMDQ4PEC=",
            "AQIDBAUGBwgJCgsMDQ4PEC===",
            "AQIDBAUGBwgJCgsMDQ4PE===",
            "AQIDBAUGBwgJCgsMDQ4PEBE=",
            "AQIDBAUGBwgJCgsMDQ4PEBES",
            "AQIDBAUGBwgJCgsMDQ4P-_==",
            "AQIDBAUGBwgJ CgsMDQ4PC==",
            "AQIDBAUGBwgJCgsMDQ4PEC==, AQIDBAUGBwgJCgsMDQ4PEC==",
        ] {
            assert_eq!(check(&request(&[("sec-websocket-key", Some(key))])).unwrap_err().status(), 400, "{key}");
        }
    }

    #[test]
    fn a_field_that_the_handshake_depends_on_may_not_be_repeated() {
        for (name, value) in [
            ("sec-websocket-version", "13"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEC=="),
        ] {
            let mut request = request(&[]);
            request.headers_mut().append(name, HeaderValue::from_static(value));
            assert_eq!(check(&request).unwrap_err().status(), 400, "{name}: {value}");
        }
    }

    #[test]
    fn every_check_of_the_rfc_refuses_with_a_status_of_its_own() {
        for (name, value, status) in [
            ("connection", Some("close"), 426),
            ("upgrade", Some("h2c"), 426),
            ("sec-websocket-version", Some("8"), 426),
            ("sec-websocket-version", None, 426),
            ("sec-websocket-version", Some("13, 8"), 426),
            ("connection", Some(", ,"), 426),
            ("upgrade", Some(""), 426),
            ("sec-websocket-key", None, 400),
            ("sec-websocket-key", Some("c2hvcnQ="), 400),
            ("sec-websocket-protocol", Some("a, a"), 400),
            ("sec-websocket-protocol", Some("a b"), 400),
            ("sec-websocket-protocol", Some("a,,a"), 400),
            ("content-length", Some("1"), 400),
            ("transfer-encoding", Some("chunked"), 400),
            ("expect", Some("100-continue"), 417),
        ] {
            let refusal = check(&request(&[(name, value)])).unwrap_err();
            assert_eq!(refusal.response::<String>().status(), status, "{name}: {value:?}");
        }
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(check(&post).unwrap_err().status(), 405);
        assert!(check(&request(&[("content-length", Some("0"))])).is_ok());
    }

    #[test]
    fn a_page_of_another_site_is_refused_unless_its_origin_is_allowed() {
        let upgrade = |allow: &[&str], origin: &str, secure: bool| {
            let mut settings = Settings::default();
            allow.iter().for_each(|origin| settings.set("allow-origin", origin).unwrap());
            let endpoint = Endpoint::new(settings).unwrap();
            endpoint
                .upgrade(&mut request(&[("origin", Some(origin))]), secure)
                .map(drop)
                .map_err(|refusal| refusal.status())
        };
        assert_eq!(upgrade(&[], "http://example.com", false), Ok(()));
        assert_eq!(upgrade(&[], "http://example.com", true), Err(StatusCode::FORBIDDEN));
        assert_eq!(upgrade(&[], "https://example.com", true), Ok(()));
        for origin in ["http://example.org", "null"] {
            assert_eq!(upgrade(&[], origin, false), Err(StatusCode::FORBIDDEN));
            assert_eq!(upgrade(&["*"], origin, false), Ok(()));
        }
        assert_eq!(upgrade(&["http://example.net, http://example.org"], "http://example.org", false), Ok(()));
    }

    #[test]
    fn two_hosts_are_refused() {
        let mut request = request(&[]);
        request.headers_mut().append("host", HeaderValue::from_static("example.com"));
        let refusal = Endpoint::new(Settings::default()).unwrap().upgrade(&mut request, false).err().unwrap();
        let response = refusal.response::<String>();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (400, &HeaderValue::from_static("close"))
        );
    }
}
