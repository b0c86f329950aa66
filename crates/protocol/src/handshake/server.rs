//! The opening handshake of a server (RFC 6455 section 4.2).

use super::{
    Rejection, check_request,
    fields::{Repeated, elements, extensions, is_token, lists, single},
    key,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, uri::Authority};
use std::{collections::HashSet, fmt};

/// A request that may become a WebSocket.
#[derive(Clone)]
pub struct ServerHandshake {
    authority: Authority,
    accept: String,
    subprotocols: Vec<String>,
    extensions: Vec<String>,
}

/// Shows nothing of the request: what the client offers may be a secret.
impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake").finish_non_exhaustive()
    }
}

impl ServerHandshake {
    /// Checks a request against [`check_request`] and against RFC 6455 section 4.2.1. `secure` says that it came over TLS.
    ///
    /// # Errors
    /// [`Rejection`] for the first rule that it breaks.
    pub fn new<B>(request: &Request<B>, secure: bool) -> Result<Self, Rejection> {
        let authority = check_request(request, secure)?;
        let fields = request.headers();
        if request.method() != Method::GET {
            return Err(Rejection::Method);
        }
        let (Version::HTTP_11, Some(authority)) = (request.version(), authority) else {
            return Err(Rejection::NotHttp11);
        };
        if !lists(fields, header::UPGRADE, "websocket") || !lists(fields, header::CONNECTION, "upgrade") {
            return Err(Rejection::NoUpgrade);
        }
        let is_zero = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(|digit| *digit == b'0');
        if fields.contains_key(header::TRANSFER_ENCODING) || !fields.get_all(header::CONTENT_LENGTH).iter().all(is_zero)
        {
            return Err(Rejection::Body);
        }
        if fields.contains_key(header::EXPECT) {
            return Err(Rejection::Expect);
        }
        match single(fields, header::SEC_WEBSOCKET_VERSION) {
            Ok(Some(version)) if version == "13" => {}
            Ok(_) => return Err(Rejection::WebSocketVersion),
            Err(Repeated) => return Err(Rejection::RepeatedVersion),
        }
        let key = match single(fields, header::SEC_WEBSOCKET_KEY) {
            Ok(Some(key)) if key::is_key(key.as_bytes()) => key.as_bytes(),
            _ => return Err(Rejection::Key),
        };
        Ok(ServerHandshake {
            authority,
            accept: key::accept_value(key),
            subprotocols: subprotocols(fields).ok_or(Rejection::Subprotocols)?,
            extensions: extensions(fields).ok_or(Rejection::Extensions)?,
        })
    }

    /// Host and port that the request is for: those of its target, or of its `Host` field.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The `Sec-WebSocket-Accept` of the response.
    pub fn accept(&self) -> &str {
        &self.accept
    }

    /// The subprotocols that the client offers, most wanted first: distinct tokens.
    pub fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// The extensions that the client offers, most wanted first, each with its parameters.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The 101 response that upgrades the request. A subprotocol that the client does not offer is left out. `extensions` is
    /// the value of `Sec-WebSocket-Extensions`: the caller chooses it from the offer.
    pub fn response(&self, subprotocol: Option<&str>, extensions: Option<&HeaderValue>) -> Response<String> {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        // Both are made of characters that header values allow: base64, and a token.
        fields.extend(HeaderValue::from_str(&self.accept).ok().map(|value| (header::SEC_WEBSOCKET_ACCEPT, value)));
        let chosen = subprotocol.filter(|name| self.subprotocols.iter().any(|offered| offered == name));
        let chosen = chosen.and_then(|name| HeaderValue::from_str(name).ok());
        fields.extend(chosen.map(|value| (header::SEC_WEBSOCKET_PROTOCOL, value)));
        fields.extend(extensions.map(|value| (header::SEC_WEBSOCKET_EXTENSIONS, value.clone())));
        response
    }
}

/// The subprotocols on offer; `None` if they are not distinct tokens.
fn subprotocols(fields: &HeaderMap) -> Option<Vec<String>> {
    // A head of 64 KiB has capacity for thousands of names: comparing each with all others would take seconds.
    let mut distinct = HashSet::new();
    elements(fields, header::SEC_WEBSOCKET_PROTOCOL)
        .map(|name| {
            str::from_utf8(name).ok().filter(|name| is_token(name) && distinct.insert(*name)).map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::encode_response;
    use std::time::Instant;

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

    fn check(request: &Request<()>) -> Result<ServerHandshake, Rejection> {
        ServerHandshake::new(request, false)
    }

    #[test]
    fn a_good_request_is_answered_as_in_the_rfc() {
        let handshake = check(&request(&[("sec-websocket-protocol", Some("chat, log"))])).unwrap();
        assert_eq!(
            (handshake.subprotocols(), handshake.extensions()),
            (&["chat", "log"].map(String::from)[..], &[][..])
        );
        assert_eq!(
            (handshake.authority().as_str(), handshake.accept()),
            ("example.com", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let head = |subprotocol, extensions| {
            String::from_utf8(encode_response(&handshake.response(subprotocol, extensions))).unwrap()
        };
        let good = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(head(None, None), format!("{good}\r\n"));
        assert_eq!(head(Some("other"), None), format!("{good}\r\n"));
        let extension = HeaderValue::from_static("x; y=1");
        let chosen = "sec-websocket-protocol: log\r\nsec-websocket-extensions: x; y=1\r\n";
        assert_eq!(head(Some("log"), Some(&extension)), format!("{good}{chosen}\r\n"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", check(&request(&[("sec-websocket-protocol", Some("t0k3n"))])));
        assert!(!shown.contains("t0k3n"), "{shown}");
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
            assert_eq!(check(&request).unwrap().subprotocols(), offered, "{protocols:?}");
        }
    }

    #[test]
    fn offers_of_extensions_are_returned_where_they_are_valid_and_refused_where_not() {
        let asked = |offer| check(&request(&[("sec-websocket-extensions", Some(offer))]));
        assert_eq!(asked("permessage-deflate; a=1, , b").unwrap().extensions(), ["permessage-deflate; a=1", "b"]);
        assert_eq!(asked("").unwrap().extensions(), [""; 0]);
        for offer in ["a;", "a b c", "a, b; c=", "\""] {
            assert_eq!(asked(offer).unwrap_err(), Rejection::Extensions, "{offer}");
        }
    }

    #[test]
    fn a_key_is_any_base64_of_16_bytes_and_is_answered_as_received() {
        for key in ["AQIDBAUGBwgJCgsMDQ4PEC==", "AQIDBAUGBwgJCgsMDQ4PEA==", "++++++++++//////////9/=="] {
            let handshake = check(&request(&[("sec-websocket-key", Some(key))])).unwrap();
            assert_eq!(handshake.accept(), key::accept_value(key.as_bytes()));
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
            assert_eq!(check(&request(&[("sec-websocket-key", Some(key))])).unwrap_err(), Rejection::Key, "{key}");
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
    fn a_head_full_of_subprotocols_is_not_compared_name_by_name() {
        let names: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
        let (offer, repeated) = (names.join(","), names.join(",") + ",0");
        let start = Instant::now();
        assert_eq!(check(&request(&[("sec-websocket-protocol", Some(&offer))])).unwrap().subprotocols(), names);
        let rejection = check(&request(&[("sec-websocket-protocol", Some(&repeated))])).unwrap_err();
        assert_eq!(rejection, Rejection::Subprotocols);
        // Comparing each name with each other one would take minutes.
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
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
            ("content-length", Some(""), 400),
            ("content-length", Some("0, 1"), 400),
            ("transfer-encoding", Some("chunked"), 400),
            ("expect", Some("100-continue"), 417),
        ] {
            let rejection = check(&request(&[(name, value)])).unwrap_err();
            assert_eq!(rejection.response().status(), status, "{name}: {value:?}");
        }
        let mut lengths = request(&[("content-length", Some("0"))]);
        lengths.headers_mut().append("content-length", HeaderValue::from_static("1"));
        assert_eq!(check(&lengths).unwrap_err(), Rejection::Body);
        let mut older = request(&[("host", None)]);
        *older.version_mut() = Version::HTTP_10;
        assert_eq!(check(&older).unwrap_err(), Rejection::NotHttp11);
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(check(&post).unwrap_err().status(), 405);
        assert!(check(&request(&[("content-length", Some("0"))])).is_ok());
    }
}
