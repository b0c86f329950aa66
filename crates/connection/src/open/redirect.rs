//! Redirects: a server may answer the opening handshake with another location (RFC 6455 section 4.1, RFC 9110 section 15.4).

use crate::open::request::{Request, parse_url, strip_credentials};
use http::{HeaderName, StatusCode, header};
use std::borrow::Cow;
use url::Url;
use websocket_protocol::handshake::ResponseHead;

/// The statuses that send a client elsewhere with the same request.
const REDIRECTS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];
/// What is meant for one origin and is not sent to another.
const SECRETS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

impl Request {
    /// The request that an answer redirects to. It has one redirect less to follow, and no credentials or cookies if it
    /// leads to another origin.
    ///
    /// # Errors
    /// Why the answer is not followed.
    pub(crate) fn redirected(&self, answer: &ResponseHead) -> Result<Request, String> {
        if self.redirects.max == 0 {
            return Err("redirects are not followed".to_owned());
        }
        if !REDIRECTS.contains(&answer.status) {
            return Err("this status is not that of a redirect".to_owned());
        }
        if self.redirects.followed == self.redirects.max {
            return Err(format!(
                "not followed: it is redirect {}, and {} may be",
                u16::from(self.redirects.max) + 1,
                self.redirects.max
            ));
        }
        let url = location(answer).and_then(|location| self.locate(&location));
        let url = url.map_err(|why| format!("not followed: {why}"))?;
        if self.secure && url.scheme() == "ws" {
            return Err("not followed: it leads from wss to ws".to_owned());
        }
        let mut next = self.clone();
        next.set_url(url).map_err(|why| format!("not followed: {why}"))?;
        next.redirects.followed += 1;
        let origin = |request: &Request| (request.secure, request.host.clone(), request.port);
        if origin(&next) != origin(self) {
            next.headers.retain(|(name, _)| !SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_str())));
        }
        Ok(next)
    }

    /// The URL of a location, which may be relative to this request's.
    fn locate(&self, location: &str) -> Result<Url, String> {
        let mut url = self.url.join(location).map_err(|error| error.to_string())?;
        let scheme = match url.scheme() {
            "http" => "ws",
            "https" => "wss",
            other => other,
        };
        let scheme = scheme.to_owned();
        // It fails for a scheme that is not one of the web. The check of the URL says so.
        let _ = url.set_scheme(&scheme);
        // Neither means anything here: a fragment names a part of a page, and credentials are the guest's to give.
        url.set_fragment(None);
        strip_credentials(&mut url);
        parse_url(url.as_str()).map_err(|error| error.to_string())
    }
}

/// The one location of an answer.
fn location(answer: &ResponseHead) -> Result<Cow<'_, str>, String> {
    if answer.malformed.iter().any(|(name, _)| name == header::LOCATION) {
        return Err("the field `Location` is malformed".to_owned());
    }
    let mut locations = answer.fields.get_all(header::LOCATION).iter();
    match (locations.next(), locations.next()) {
        (Some(location), None) if !location.is_empty() => Ok(String::from_utf8_lossy(location.as_bytes())),
        (Some(_), Some(_)) => Err("there is more than one `Location`".to_owned()),
        _ => Err("there is no `Location`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectConfig, Settings};
    use bytes::BytesMut;
    use websocket_protocol::handshake::ResponseReader;

    const FROM: &str = "wss://me:secret@example.com/a/b?c=d";

    fn request(url: &str, max_redirects: u8) -> Request {
        let mut config = ConnectConfig::new(url);
        config.max_redirects = max_redirects;
        config.cookies = vec![("session".to_owned(), "s3cret".to_owned())];
        config.headers = vec![("X-A".to_owned(), "1".to_owned())];
        Request::new(config, &Settings::default()).unwrap()
    }

    fn answer(status: u16, location: &str) -> ResponseHead {
        head(&format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\n\r\n"))
    }

    fn head(head: &str) -> ResponseHead {
        ResponseReader::new().read(&mut BytesMut::from(head)).unwrap().unwrap()
    }

    fn names(request: &Request) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_location_is_resolved_as_browsers_do_and_becomes_a_websocket_url() {
        for (location, expected) in [
            ("/e", "wss://example.com/e"),
            ("e?f", "wss://example.com/a/e?f"),
            ("//example.org/", "wss://example.org/"),
            ("https://example.org:444/e", "wss://example.org:444/e"),
            ("wss://EXAMPLE.com/#part", "wss://example.com/"),
            ("wss://you:other@example.com/", "wss://example.com/"),
        ] {
            let next = request(FROM, 1).redirected(&answer(302, location)).unwrap();
            assert_eq!(next.url.as_str(), expected, "{location}");
            assert_eq!(next.host, next.url.host().unwrap().to_owned());
        }
        assert_eq!(request("ws://a/", 1).redirected(&answer(302, "http://b:80/")).unwrap().url.as_str(), "ws://b/");
    }

    #[test]
    fn credentials_and_cookies_stay_with_their_origin() {
        let all = ["User-Agent", "X-A", "Cookie", "Authorization"];
        let from = request(FROM, 1);
        assert_eq!(names(&from), all);
        for same in ["/", "https://example.com/", "wss://example.com:443/"] {
            assert_eq!(names(&from.redirected(&answer(307, same)).unwrap()), all, "{same}");
        }
        for other in ["https://example.com:444/", "https://www.example.com/", "//example.org"] {
            assert_eq!(names(&from.redirected(&answer(307, other)).unwrap()), ["User-Agent", "X-A"], "{other}");
        }
        let plain = request("ws://me:secret@example.com/", 1);
        assert_eq!(names(&plain.redirected(&answer(301, "wss://example.com/")).unwrap()), ["User-Agent", "X-A"]);
    }

    #[test]
    fn what_is_not_followed_says_why() {
        for (status, location, why) in [
            (200, "/", "not that of a redirect"),
            (300, "/", "not that of a redirect"),
            (302, "ws://example.com/", "from wss to ws"),
            (302, "http://example.com/", "from wss to ws"),
            (302, "ftp://example.com/", "scheme"),
            (302, "data:,x", "scheme"),
            (302, "https://", "host"),
            (302, "https://example.com:0/", "port 0"),
            (302, "https://*/", "host"),
            (302, "", "no `Location`"),
            (302, "/a\r\nLocation: /b", "more than one `Location`"),
            (302, "/a\u{1}b", "malformed"),
        ] {
            let error = request(FROM, 1).redirected(&answer(status, location)).unwrap_err();
            assert!(error.contains(why), "{status} {location}: {error}");
        }
        let error = request(FROM, 1).redirected(&head("HTTP/1.1 302 X\r\n\r\n")).unwrap_err();
        assert_eq!(error, "not followed: there is no `Location`");
    }

    #[test]
    fn as_many_redirects_are_followed_as_the_guest_allows() {
        assert!(request(FROM, 0).redirected(&answer(302, "/")).unwrap_err().contains("redirects are not followed"));
        for status in [301, 302, 303, 307, 308] {
            let second = request(FROM, 2).redirected(&answer(status, "/")).unwrap().redirected(&answer(status, "/"));
            let error = second.unwrap().redirected(&answer(status, "/")).unwrap_err();
            assert_eq!(error, "not followed: it is redirect 3, and 2 may be");
        }
        let last = (0..255).fold(request(FROM, 255), |request, _| request.redirected(&answer(302, "/")).unwrap());
        assert!(last.redirected(&answer(302, "/")).is_err());
    }
}
