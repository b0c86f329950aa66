//! The rules of HTTP/1.1 for requests that hyper leaves to a server (RFC 9112 sections 3.2, 6.1 and 6.3).

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri::Authority};
use std::net::Ipv6Addr;

/// Checks an HTTP/1 request that hyper received, whether or not it asks for an upgrade, and returns the authority
/// that it is for: that of its target, or that of its `Host` field. `None` is for HTTP/1.0, which may name none.
/// `secure` says that it came over TLS. A server calls this before it acts on a request; [`Endpoint::upgrade`] does.
///
/// [`Endpoint::upgrade`]: crate::Endpoint::upgrade
///
/// # Errors
/// [`Refusal`], whose response also closes the connection: the two ends may not agree where the next request begins.
pub fn check_request<B>(request: &Request<B>, secure: bool) -> Result<Option<Authority>, Refusal> {
    check_transfer_coding(request.headers())?;
    let host = host(request)?;
    let authority = check_target(request.method(), request.uri(), secure)?;
    Ok(authority.or(host))
}

/// The codings that hyper does not know reach the guest as they came, so the only one is `chunked`.
fn check_transfer_coding(fields: &HeaderMap) -> Result<(), Refusal> {
    let values = fields.get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::closing(StatusCode::NOT_IMPLEMENTED, "the only transfer coding here is `chunked`, once")),
    }
}

fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Refusal> {
    let bad = |reason| Err(Refusal::closing(StatusCode::BAD_REQUEST, reason));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => bad("the request has more than one Host"),
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
        (None, _) => bad("the request has no Host"),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if is_host_and_port(host.as_str()) => Ok(Some(host)),
            _ => bad("the request's Host is not a host name or an IP address with an optional port"),
        },
    }
}

/// The authority of a target that has one. There are four forms of targets (RFC 9112 section 3.2).
fn check_target(method: &Method, target: &Uri, secure: bool) -> Result<Option<Authority>, Refusal> {
    let bad = |reason| Err(Refusal::closing(StatusCode::BAD_REQUEST, reason));
    match (target.scheme_str(), target.authority()) {
        (None, None) => match target.path() {
            "*" if *method != Method::OPTIONS => bad("the target `*` is only for OPTIONS"),
            _ if *method == Method::CONNECT => bad("the target of CONNECT is a host and a port"),
            "*" => Ok(None),
            path if path.starts_with('/') => Ok(None),
            _ => bad("the request's target is not a path"),
        },
        (None, Some(authority)) if *method == Method::CONNECT => Ok(Some(authority.clone())),
        (Some(scheme), Some(authority)) if *method != Method::CONNECT && is_host_and_port(authority.as_str()) => {
            match scheme {
                "https" | "wss" if !secure => Err(Refusal::closing(
                    StatusCode::MISDIRECTED_REQUEST,
                    "the request's target is for TLS, and the request came without",
                )),
                "http" | "https" | "ws" | "wss" => Ok(Some(authority.clone())),
                _ => bad("the scheme of the request's target is not that of HTTP"),
            }
        }
        _ => bad("the request's target is neither a path nor an absolute URL"),
    }
}

/// Whether an authority has a host, no user name, and a port that exists, if any.
fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            (at > 0 && !authority[..at].contains(['@', '[', ']']), &authority[at..])
        }
    };
    let port_exists = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    host && port_exists
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    status: StatusCode,
    reason: &'static str,
    /// Whether the connection ends with the response.
    closes: bool,
}

impl Refusal {
    /// For a request that is right, at a time when no more connections are allowed.
    pub(crate) const FULL: Refusal = Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "as many WebSockets are open here as may be; try again later",
        closes: false,
    };

    /// For a page of another site.
    pub(crate) const FOREIGN: Refusal = Refusal {
        status: StatusCode::FORBIDDEN,
        reason: "pages of this origin may not open WebSockets here; whoever runs the server can allow it with \
                 `allow-origin`",
        closes: false,
    };

    /// A refusal after which the connection goes on.
    pub(crate) fn new(status: StatusCode, reason: &'static str) -> Self {
        Refusal { status, reason, closes: false }
    }

    /// A refusal whose response closes the connection.
    pub(crate) fn closing(status: StatusCode, reason: &'static str) -> Self {
        Refusal { status, reason, closes: true }
    }

    /// The HTTP status: what is wrong with the request, 403 for a page of another site, or 503 when no more
    /// connections are allowed.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the request gets this response even from a server that could answer it otherwise than with an upgrade.
    pub fn is_final(&self) -> bool {
        self.closes || matches!(self.status, StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The response that tells the client, with the reason as its body (RFC 6455 section 4.2.2).
    pub fn response<B: From<String>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(format!("{}\n", self.reason)));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.closes {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
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

    fn check(method: &str, target: &str, fields: &[(&str, &str)], secure: bool) -> Result<Option<String>, u16> {
        let builder = Request::builder().method(method).uri(target);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let checked = check_request(&builder.body(()).unwrap(), secure);
        checked.map(|authority| authority.map(|authority| authority.to_string())).map_err(|refusal| {
            let response = refusal.response::<String>();
            assert_eq!(response.headers()[header::CONNECTION], "close");
            response.status().as_u16()
        })
    }

    fn host(host: &str) -> Result<Option<String>, u16> {
        check("GET", "/", &[("host", host)], false)
    }

    #[test]
    fn a_host_is_one_name_or_address_with_an_optional_port() {
        for good in ["a", "a.example", "a:80", "a:", "A_b.example:65535", "127.0.0.1:1", "[::1]", "[::1]:443"] {
            assert_eq!(host(good), Ok(Some(good.to_owned())));
        }
        for bad in [
            "", " ", ":80", "a b", "a, b", "a/", "a?b", "me@a", "a:x", "a:65536", "a:+1", "a:80:80", "::1", "[::1",
            "[a]", "[::1]x", "http://a", "a\u{e9}",
        ] {
            assert_eq!(host(bad), Err(400), "{bad:?}");
        }
        assert_eq!(check("GET", "/", &[], false), Err(400));
        assert_eq!(check("GET", "/", &[("host", "a"), ("host", "a")], false), Err(400));
        // Also where the target says more.
        assert_eq!(check("GET", "http://a/", &[], false), Err(400));
        assert_eq!(check("GET", "http://a/", &[("host", "a b")], false), Err(400));
        let mut older = Request::new(());
        *older.version_mut() = Version::HTTP_10;
        assert_eq!(check_request(&older, false).unwrap(), None);
    }

    #[test]
    fn a_target_has_the_form_of_its_method() {
        let with = |method, target, secure| check(method, target, &[("host", "h")], secure);
        let named = |authority: &str| Ok(Some(authority.to_owned()));
        assert_eq!(with("GET", "/a?b", false), named("h"));
        assert_eq!(with("OPTIONS", "*", false), named("h"));
        assert_eq!(with("GET", "http://other:8080/a", false), named("other:8080"));
        assert_eq!(with("GET", "wss://other/a", true), named("other"));
        assert_eq!(with("CONNECT", "other:80", false), named("other:80"));
        for (method, target, status) in [
            ("GET", "*", 400),
            ("CONNECT", "/", 400),
            ("CONNECT", "http://other/", 400),
            ("GET", "other:80", 400),
            ("GET", "ftp://other/", 400),
            ("GET", "http://me@other/", 400),
            ("GET", "https://other/", 421),
            ("GET", "wss://other/", 421),
        ] {
            assert_eq!(with(method, target, false), Err(status), "{method} {target}");
        }
    }

    #[test]
    fn the_only_transfer_coding_is_chunked() {
        let with = |codings: &[&str]| {
            let fields: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            check("POST", "/", &[&[("host", "h")][..], &fields].concat(), false)
        };
        assert_eq!(with(&["Chunked"]), Ok(Some("h".to_owned())));
        for bad in
            [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["identity", "chunked"], &[""]]
        {
            assert_eq!(with(bad), Err(501), "{bad:?}");
        }
    }
}
