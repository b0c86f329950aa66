//! Whose pages may open WebSockets here: browsers name the origin of a page in `Origin` (RFC 6455 section 10.2).

#[cfg(feature = "server")]
use http::{HeaderMap, header, uri::Authority};
use std::{fmt, str::FromStr};
use url::Url;

/// One value of the setting `allow-origin`: an origin, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule(Option<Origin>);

/// A scheme, a host and a port (RFC 6454 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    /// Default ports included; `None` for a scheme that has none.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        // The URL parser forgives what browsers never send.
        if text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\') {
            return None;
        }
        let (_, authority) = text.split_once("://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', '*']) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let host = url.host_str()?.to_ascii_lowercase();
        Some(Origin { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if !matches!((self.scheme.as_str(), port), ("http", 80) | ("https", 443)) => {
                write!(f, ":{port}")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for OriginRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(OriginRule(None)),
            text => Origin::parse(text).map(|origin| OriginRule(Some(origin))).ok_or_else(|| {
                "write an origin such as https://example.com or http://localhost:3000, without a path, or * for all"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("*"),
            Some(origin) => origin.fmt(f),
        }
    }
}

/// Checks the `Origin` of a request for this authority. Clients that send none are not browsers, and may connect.
///
/// The origin is the server's own when host and port are those of the request. A port that both leave out is that of
/// the origin's scheme. Over TLS the scheme is `https`; without, it may be either, since a proxy in front may have
/// ended TLS. No `X-Forwarded` field is asked: a client can write it.
///
/// # Errors
/// The origin that may not connect; `None` when it is `null`, invalid, or not one.
#[cfg(feature = "server")]
pub(crate) fn check(
    fields: &HeaderMap,
    authority: &Authority,
    secure: bool,
    rules: &[OriginRule],
) -> Result<(), Option<String>> {
    let mut values = fields.get_all(header::ORIGIN).iter();
    let Some(value) = values.next() else { return Ok(()) };
    if rules.iter().any(|rule| rule.0.is_none()) {
        return Ok(());
    }
    let origin = match values.next() {
        None => value.to_str().ok().and_then(Origin::parse).ok_or(None)?,
        Some(_) => return Err(None),
    };
    let own = Origin::parse(&format!("{}://{authority}", origin.scheme));
    let may_be_own = matches!((origin.scheme.as_str(), secure), ("https", _) | ("http", false));
    if (may_be_own && own.as_ref() == Some(&origin)) || rules.iter().any(|rule| rule.0.as_ref() == Some(&origin)) {
        Ok(())
    } else {
        Err(Some(origin.to_string()))
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], authority: &str, secure: bool, rules: &[&str]) -> bool {
        let mut fields = HeaderMap::new();
        for origin in origins {
            fields.append(header::ORIGIN, origin.parse().unwrap());
        }
        let rules: Vec<OriginRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        check(&fields, &authority.parse().unwrap(), secure, &rules).is_ok()
    }

    #[test]
    fn a_page_of_the_server_itself_may_connect_and_a_client_without_a_page() {
        for (origin, authority, secure) in [
            ("http://a.example", "a.example", false),
            ("http://a.example", "A.Example:80", false),
            ("http://a.example:80", "a.example", false),
            ("http://a.example:8080", "a.example:8080", false),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", false),
            ("http://[::1]:8080", "[0:0::1]:8080", false),
            ("https://a.example", "a.example", true),
            ("https://a.example", "a.example:443", true),
            // TLS that a proxy ended.
            ("https://a.example", "a.example", false),
        ] {
            assert!(allowed(&[origin], authority, secure, &[]), "{origin} at {authority}");
        }
        assert!(allowed(&[], "a.example", false, &[]));
    }

    #[test]
    fn a_page_of_another_site_may_not() {
        for (origin, authority, secure) in [
            ("http://b.example", "a.example", false),
            ("http://a.example.b.example", "a.example", false),
            ("http://b.example/a.example", "a.example", false),
            ("http://a.example@b.example", "a.example", false),
            ("http://a.example", "a.example:8080", false),
            ("http://a.example:8080", "a.example", false),
            ("http://a.example:443", "a.example", false),
            ("http://localhost:8080", "127.0.0.1:8080", false),
            // A page without TLS, at a server with it.
            ("http://a.example", "a.example", true),
            ("http://a.example:443", "a.example:443", true),
            ("https://a.example:80", "a.example", false),
            ("file://a.example", "a.example", false),
            ("null", "null", false),
            ("null", "a.example", false),
            ("", "a.example", false),
            ("a.example", "a.example", false),
            ("//a.example", "a.example", false),
            ("http://a.example http://a.example", "a.example", false),
            ("http://a.example, http://a.example", "a.example", false),
        ] {
            assert!(!allowed(&[origin], authority, secure, &[]), "{origin} at {authority}");
            assert!(allowed(&[origin], authority, secure, &["https://c.example", "*"]), "{origin} at {authority}");
        }
        assert!(!allowed(&["http://a.example", "http://a.example"], "a.example", false, &[]));
    }

    #[test]
    fn a_rule_names_one_origin() {
        let rules = ["https://App.Example:443/", "http://localhost:3000", "chrome-extension://abcdef"];
        for origin in ["https://app.example", "http://localhost:3000", "chrome-extension://abcdef", "http://own"] {
            assert!(allowed(&[origin], "own", false, &rules), "{origin}");
        }
        for origin in
            ["http://app.example", "https://app.example:8443", "https://x.app.example", "http://localhost", "null"]
        {
            assert!(!allowed(&[origin], "own", false, &rules), "{origin}");
        }
        for wrong in
            ["", "null", "app.example", "https://", "https://a/b", "https://a?b", "https://me@a", "https://*.a", "a b"]
        {
            assert!(wrong.parse::<OriginRule>().is_err(), "{wrong:?}");
        }
        let shown: Vec<_> = rules.iter().map(|rule| rule.parse::<OriginRule>().unwrap().to_string()).collect();
        assert_eq!(shown, ["https://app.example", "http://localhost:3000", "chrome-extension://abcdef"]);
    }
}
