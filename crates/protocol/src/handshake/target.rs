//! The rules of HTTP/1.1 for the fields and the target of every request (RFC 9112 sections 3.2, 6.1 and 6.3), whether or not
//! it asks for an upgrade.

use super::Rejection;
use http::{HeaderMap, Method, Request, Uri, Version, header, uri::Authority};
use std::net::Ipv6Addr;

/// Checks an HTTP/1 request, whether or not it asks for an upgrade, and returns the authority that it is for: that of its
/// target, or that of its `Host` field. `None` is for HTTP/1.0, which may name none. `secure` says that it came over TLS.
/// [`ServerHandshake::new`](super::ServerHandshake::new) calls this.
///
/// # Errors
/// [`Rejection`], always one that closes the connection: the two ends may not agree where the next request begins.
pub fn check_request<B>(request: &Request<B>, secure: bool) -> Result<Option<Authority>, Rejection> {
    check_transfer_coding(request.headers())?;
    let host = host(request)?;
    let authority = check_target(request.method(), request.uri(), secure)?;
    Ok(authority.or(host))
}

/// A body of another coding would reach the application as it came, so the only coding is `chunked`.
fn check_transfer_coding(fields: &HeaderMap) -> Result<(), Rejection> {
    let values = fields.get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Rejection::TransferCoding),
    }
}

fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Rejection> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Rejection::RepeatedHost),
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
        (None, _) => Err(Rejection::NoHost),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if is_host_and_port(host.as_str()) => Ok(Some(host)),
            _ => Err(Rejection::Host),
        },
    }
}

/// The authority of a target that has one. There are four forms of targets (RFC 9112 section 3.2).
fn check_target(method: &Method, target: &Uri, secure: bool) -> Result<Option<Authority>, Rejection> {
    match (target.scheme_str(), target.authority()) {
        (None, None) => match target.path() {
            "*" if *method != Method::OPTIONS => Err(Rejection::AsteriskTarget),
            _ if *method == Method::CONNECT => Err(Rejection::ConnectTarget),
            "*" => Ok(None),
            path if path.starts_with('/') => Ok(None),
            _ => Err(Rejection::TargetPath),
        },
        (None, Some(authority)) if *method == Method::CONNECT => Ok(Some(authority.clone())),
        (Some(scheme), Some(authority)) if *method != Method::CONNECT && is_host_and_port(authority.as_str()) => {
            match scheme {
                "https" | "wss" if !secure => Err(Rejection::TargetOverTls),
                "http" | "https" | "ws" | "wss" => Ok(Some(authority.clone())),
                _ => Err(Rejection::TargetScheme),
            }
        }
        _ => Err(Rejection::TargetForm),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, fields: &[(&str, &str)], secure: bool) -> Result<Option<String>, u16> {
        let builder = Request::builder().method(method).uri(target);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let checked = check_request(&builder.body(()).unwrap(), secure);
        checked.map(|authority| authority.map(|authority| authority.to_string())).map_err(|rejection| {
            let response = rejection.response();
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
