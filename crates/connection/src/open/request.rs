//! What a guest asks of a connection, checked against the contract before any network use.

use crate::{
    Error, Settings,
    settings::{credential_fault, rule::name_fault},
};
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use std::{collections::HashSet, time::Duration};
use url::{Host, Url};
use websocket_protocol::handshake::{is_handshake_field, is_token};

/// The largest URL, and the largest total of subprotocols and header fields, that a guest may add to a handshake, in
/// bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// How to open one connection: what a guest may say, with `None` for the host's default. [`ConnectConfig::new`] makes one;
/// its fields are then set one by one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectConfig {
    /// Absolute `ws` or `wss` URL without a fragment, of at most 64 KiB; `user:password@` becomes Basic
    /// authorization.
    pub url: String,
    /// Subprotocols to offer, most wanted first: RFC 7230 tokens without duplicates.
    pub subprotocols: Vec<String>,
    /// Header fields to add to the opening handshake, in order; repeated names are kept. With the
    /// subprotocols they have at most 64 KiB.
    pub headers: Vec<(String, String)>,
    /// Parameters to append to the query of the URL, in order, encoded as a form's are (WHATWG URL section 5).
    pub query: Vec<(String, String)>,
    /// Cookies to send in one `Cookie` field (RFC 6265 section 4.2), behind those of a `Cookie` field in `headers`.
    pub cookies: Vec<(String, String)>,
    /// How many redirects to follow; each is checked against the policy, and none leads from `wss` to `ws`. `Authorization`
    /// and `Cookie` are sent to the origin of the URL alone; subprotocols and other header fields are sent to every one, so set
    /// this to 0 where they hold a secret.
    pub max_redirects: u8,
    /// One limit from the policy check to the end of the handshake, redirects included; zero for the host's maximum.
    pub timeout: Option<Duration>,
    /// Largest message in bytes, both ways, capped by the host's maximum.
    pub max_message_size: Option<usize>,
    /// Largest frame in bytes, both ways, capped by the host's; a larger message is sent in fragments.
    pub max_frame_size: Option<usize>,
    /// Whether [`Connection::receive_stream`](crate::Connection::receive_stream) and
    /// [`Connection::receive_frame`](crate::Connection::receive_frame) are used. `max_message_size` limits messages in
    /// pieces only if it is set here.
    pub streams: bool,
    /// Whether to offer compression (permessage-deflate).
    pub compress: Option<bool>,
    /// Whether silence is answered with pings.
    pub keepalive: Option<bool>,
    /// Silence after which a ping goes out, no less than the host's floor.
    pub keepalive_interval: Option<Duration>,
}

impl ConnectConfig {
    /// A connection to this URL, with the host's defaults, without subprotocols or header fields, and without redirects.
    pub fn new(url: impl Into<String>) -> Self {
        ConnectConfig {
            url: url.into(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            max_redirects: 0,
            timeout: None,
            max_message_size: None,
            max_frame_size: None,
            streams: false,
            compress: None,
            keepalive: None,
            keepalive_interval: None,
        }
    }
}

/// A [`ConnectConfig`] that passed every check, with the host's defaults and limits applied.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The URL without its credentials.
    pub(crate) url: Url,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    pub(crate) secure: bool,
    pub(crate) subprotocols: Vec<String>,
    /// The host's `User-Agent` where the guest gives none, the guest's header fields, and Basic authorization made of
    /// the URL's credentials.
    pub(crate) headers: Vec<(String, HeaderValue)>,
    pub(crate) timeout: Duration,
    pub(crate) sizes: Sizes,
    pub(crate) compress: bool,
    /// The keep-alive's interval; `None` when it is off.
    pub(crate) keepalive: Option<Duration>,
    pub(crate) redirects: Redirects,
}

/// How many redirects were followed to a request, and how many may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirects {
    pub(crate) followed: u8,
    pub(crate) max: u8,
}

/// How large what one connection sends and receives may be, both ways, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) max_message_size: usize,
    /// Of a message in pieces.
    pub(crate) max_stream_size: u64,
    pub(crate) max_frame_size: usize,
    /// Whether messages may be received in pieces and frame by frame.
    pub(crate) streams: bool,
}

impl Sizes {
    /// What a guest asks for, with the host's defaults and limits applied.
    pub(crate) fn new(message: Option<usize>, frame: Option<usize>, streams: bool, settings: &Settings) -> Self {
        let message = message.map(|size| size.min(settings.max_message_size_limit));
        Sizes {
            max_message_size: message.unwrap_or(settings.max_message_size.min(settings.max_message_size_limit)),
            max_stream_size: message.map_or(u64::MAX, |size| size as u64),
            max_frame_size: [frame, settings.max_frame_size].into_iter().flatten().min().unwrap_or(usize::MAX),
            streams,
        }
    }
}

impl Request {
    /// Checks what a guest asks for.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for the URL, [`Error::Protocol`] for subprotocols and headers.
    pub(crate) fn new(config: ConnectConfig, settings: &Settings) -> Result<Self, Error> {
        let mut url = parse_url(&config.url)?;
        check_size(&config)?;
        check_subprotocols(&config.subprotocols)?;
        let mut headers = check_headers(config.headers)?;
        add_cookies(&mut headers, &config.cookies)?;
        if !config.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&config.query);
        }
        let gives =
            |headers: &[(String, _)], field: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(field));
        if let Some(authorization) = basic_authorization(&url)
            && !gives(&headers, "authorization")
        {
            headers.push(("Authorization".to_owned(), authorization));
        }
        if let Some(agent) = &settings.user_agent
            && !gives(&headers, "user-agent")
        {
            headers.insert(0, ("User-Agent".to_owned(), agent.clone()));
        }
        strip_credentials(&mut url);
        let (host, port) = host_and_port(&url)?;
        let timeout = match config.timeout {
            None => settings.connect_timeout,
            Some(Duration::ZERO) => settings.connect_timeout_max,
            Some(timeout) => timeout.min(settings.connect_timeout_max),
        };
        let interval = config.keepalive_interval.unwrap_or(settings.keepalive_interval).max(settings.keepalive_floor);
        Ok(Request {
            secure: url.scheme() == "wss",
            host,
            port,
            url,
            subprotocols: config.subprotocols,
            headers,
            timeout,
            sizes: Sizes::new(config.max_message_size, config.max_frame_size, config.streams, settings),
            compress: config.compress.unwrap_or(settings.compress),
            keepalive: config.keepalive.unwrap_or(settings.keepalive).then_some(interval),
            redirects: Redirects { followed: 0, max: config.max_redirects },
        })
    }

    /// Makes this the same request for another URL, which has neither credentials nor a fragment.
    pub(crate) fn set_url(&mut self, url: Url) -> Result<(), Error> {
        (self.host, self.port) = host_and_port(&url)?;
        self.secure = url.scheme() == "wss";
        self.url = url;
        Ok(())
    }

    /// The request target: path and query.
    pub(crate) fn target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// Scheme, host and port: what operators see, since the rest of a URL may be a secret.
    pub(crate) fn destination(&self) -> String {
        format!("{}://{}:{}", self.url.scheme(), self.host, self.port)
    }

    /// Host and port as the `Host` field has them: the port only where it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }
}

fn host_and_port(url: &Url) -> Result<(Host<String>, u16), Error> {
    let host = url.host().ok_or_else(|| Error::InvalidUrl("it names no host".to_owned()))?.to_owned();
    let port = url.port_or_known_default().filter(|port| *port != 0);
    Ok((host, port.ok_or_else(|| Error::InvalidUrl("port 0 cannot be dialled".to_owned()))?))
}

pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let invalid = |why: &str| Err(Error::InvalidUrl(format!("{why}; write ws://host/path or wss://host/path")));
    if text.len() > MAX_REQUEST {
        return invalid(&format!("it has {} bytes, and may have {MAX_REQUEST}", text.len()));
    }
    // The URL parser forgives what browsers forgive: white space, backslashes, any number of slashes.
    if text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\') {
        return invalid("it contains a control character, a space or a backslash");
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(&error.to_string()),
    };
    if !matches!(url.scheme(), "ws" | "wss") {
        return invalid(&format!("the scheme {:?} is not that of a WebSocket", url.scheme()));
    }
    match text.split_once("://") {
        Some((_, rest)) if !rest.starts_with(['/', '?', '#']) => {}
        _ => return invalid("it names no host"),
    }
    if url.fragment().is_some() {
        return invalid("a WebSocket URL has no fragment (RFC 6455 section 3)");
    }
    if let Some(fault) = url.domain().and_then(name_fault) {
        return invalid(&format!("its host name is invalid: {fault}"));
    }
    if let Some(fault) = credential_fault(&url, false) {
        return invalid(&fault);
    }
    Ok(url)
}

fn check_size(config: &ConnectConfig) -> Result<(), Error> {
    let pairs = config.headers.iter().chain(&config.cookies).chain(&config.query);
    let fields = pairs.map(|(name, value)| name.len() + value.len());
    let size = config.subprotocols.iter().map(String::len).chain(fields).fold(0, usize::saturating_add);
    if size > MAX_REQUEST {
        let why = format!("the subprotocols and header fields have {size} bytes, and may have {MAX_REQUEST}");
        return Err(Error::Protocol(why));
    }
    Ok(())
}

fn check_subprotocols(subprotocols: &[String]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in subprotocols {
        if !is_token(name) {
            return Err(Error::Protocol(format!("the subprotocol {name:?} is not a token (RFC 7230 section 3.2.6)")));
        }
        if !seen.insert(name) {
            return Err(Error::Protocol(format!("the subprotocol {name:?} is offered twice")));
        }
    }
    Ok(())
}

/// Header fields that are for the next hop alone (RFC 9110 section 7.6.1), beside `Proxy-*`: a guest gives none.
const HOP_FIELDS: [&str; 4] = ["te", "trailer", "keep-alive", "http2-settings"];

/// Why a guest may not give this header field.
fn reserved(field: &HeaderName) -> Option<&'static str> {
    if is_handshake_field(field) {
        return Some("belongs to the opening handshake; leave it out");
    }
    let field = field.as_str();
    if field.starts_with("proxy-") {
        Some(
            "is for proxies, and not for the server; leave it out: the host's setting `proxy` has the credentials of \
             its proxy",
        )
    } else if HOP_FIELDS.contains(&field) {
        Some("is for one hop of the way, which is the host's; leave it out")
    } else if field == "expect" {
        Some("announces a body, and the opening handshake has none; leave it out")
    } else {
        None
    }
}

fn check_headers(headers: Vec<(String, String)>) -> Result<Vec<(String, HeaderValue)>, Error> {
    let check = |(name, value): (String, String)| {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::Protocol(format!("{name:?} is not a header name (RFC 9110 section 5.1)")))?;
        if let Some(why) = reserved(&field) {
            return Err(Error::Protocol(format!("the header {name:?} {why}")));
        }
        // The value may be a secret, so the error does not show it.
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Error::Protocol(format!(
                "the value of the header {name:?} has a character that RFC 9110 section 5.5 forbids"
            ))
        })?;
        Ok((name, value))
    };
    headers.into_iter().map(check).collect()
}

/// Appends cookies to the `Cookie` field, which a request has once (RFC 6265 section 5.4).
fn add_cookies(headers: &mut Vec<(String, HeaderValue)>, cookies: &[(String, String)]) -> Result<(), Error> {
    // A quoted value is allowed as well; it consists of the same characters.
    let is_value = |value: &str| value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte));
    let quoted = |value: &'_ str| value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).is_some_and(is_value);
    let mut pairs = Vec::new();
    for (name, value) in cookies {
        if !is_token(name) {
            return Err(Error::Protocol(format!("the cookie name {name:?} is not a token (RFC 6265 section 4.1.1)")));
        }
        if !is_value(value) && !quoted(value) {
            let why = "has a character that RFC 6265 section 4.1.1 forbids; encode it, in base64 for example";
            return Err(Error::Protocol(format!("the value of the cookie {name:?} {why}")));
        }
        pairs.push(format!("{name}={value}"));
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let at = headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let mut value =
        at.map(|at| headers[at].1.as_bytes().to_vec()).filter(|given| !given.is_empty()).unwrap_or_default();
    if !value.is_empty() {
        value.extend_from_slice(b"; ");
    }
    value.extend_from_slice(pairs.join("; ").as_bytes());
    let mut value = HeaderValue::from_bytes(&value).map_err(|error| Error::Protocol(error.to_string()))?;
    value.set_sensitive(true);
    match at {
        Some(at) => headers[at].1 = value,
        None => headers.push(("Cookie".to_owned(), value)),
    }
    Ok(())
}

/// Basic authorization (RFC 7617) made of a URL's credentials.
pub(crate) fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(&credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Takes the credentials out of a URL that is about to be shown or logged.
pub(crate) fn strip_credentials(url: &mut Url) {
    // Both fail only for URLs without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: ConnectConfig) -> Result<Request, Error> {
        Request::new(config, &Settings::default())
    }

    fn url(url: &str) -> Result<Request, Error> {
        check(ConnectConfig::new(url))
    }

    #[test]
    fn urls_that_are_not_absolute_websocket_urls_are_refused() {
        for text in [
            "",
            "echo",
            "/path",
            "http://a/",
            "ftp://a",
            "ws:a",
            "ws:/a",
            "ws://",
            "ws:///path",
            "ws://?q",
            "ws://#f",
            "ws://a/#f",
            "ws://a#",
            "ws://a:70000/",
            "ws://a:0/",
            "ws://a:b/",
            " ws://a/",
            "ws://a/ b",
            "ws:\\\\a\\",
            "ws://a\n/",
            "ws://[::1/",
            "ws://user@/",
            "ws://:80/",
            "ws://a b/",
            "wss://%zz/",
            "ws://*/",
            "ws://a..b/",
            "ws://./",
            "ws://a,b/",
            "ws://a\"b/",
            "ws://a!b/",
            "ws://me:secret%0D%0A@a/",
            "ws://me%00:secret@a/",
            "ws://me%3Aalso:secret@a/",
        ] {
            assert!(matches!(url(text), Err(Error::InvalidUrl(_))), "{text:?} gave {:?}", url(text));
            assert!(!url(text).unwrap_err().to_string().contains("secret"));
        }
    }

    #[test]
    fn url_parts_go_where_they_belong() {
        let request = url("wss://me:p%40ss@Example.com/a/b?c=d").unwrap();
        assert!(request.secure);
        assert_eq!((request.authority().as_str(), request.port), ("example.com", 443));
        assert_eq!(request.target(), "/a/b?c=d");
        assert_eq!(request.url.as_str(), "wss://example.com/a/b?c=d");
        assert_eq!(request.headers[1].1, "Basic bWU6cEBzcw==");
        let request = url("ws://[::1]:8080").unwrap();
        assert_eq!((request.authority().as_str(), request.port, request.secure), ("[::1]:8080", 8080, false));
        assert_eq!(request.target(), "/");
    }

    #[test]
    fn an_authorization_header_wins_over_the_url() {
        let request = check(ConnectConfig {
            headers: vec![("authorization".to_owned(), "Bearer t".to_owned())],
            ..ConnectConfig::new("ws://me:secret@a/")
        });
        assert_eq!(request.unwrap().headers[1..], [("authorization".to_owned(), HeaderValue::from_static("Bearer t"))]);
    }

    #[test]
    fn the_user_agent_is_the_guest_s_or_else_the_host_s() {
        let ask = |headers: &[(&str, &str)], agent: &str| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let mut settings = Settings::default();
            settings.set("user-agent", agent).unwrap();
            let config = ConnectConfig { headers, ..ConnectConfig::new("ws://a/") };
            let request = Request::new(config, &settings).unwrap();
            let shown = request.headers.into_iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(ask(&[("X-A", "1")], "host/1"), ["User-Agent: host/1", "X-A: 1"]);
        assert_eq!(ask(&[("X-A", "1"), ("user-agent", "own")], "host/1"), ["X-A: 1", "user-agent: own"]);
        assert_eq!(ask(&[("USER-AGENT", "")], "host/1"), ["USER-AGENT: "]);
        assert_eq!(ask(&[("X-A", "1")], ""), ["X-A: 1"]);
    }

    #[test]
    fn subprotocols_are_distinct_tokens() {
        let offer = |names: &[&str]| {
            check(ConnectConfig {
                subprotocols: names.iter().map(|name| (*name).to_owned()).collect(),
                ..ConnectConfig::new("ws://a/")
            })
        };
        assert!(offer(&["chat", "v2.chat", "Chat"]).is_ok());
        for names in [&["chat", "chat"][..], &[""], &["a b"], &["a,b"], &["é"], &["a\r\n"]] {
            assert!(matches!(offer(names), Err(Error::Protocol(_))), "{names:?}");
        }
    }

    #[test]
    fn headers_that_http_forbids_or_the_handshake_owns_are_refused_by_name() {
        let add = |name: &str, value: &str| {
            check(ConnectConfig { headers: vec![(name.to_owned(), value.to_owned())], ..ConnectConfig::new("ws://a/") })
        };
        for (name, value) in [("", "v"), ("a b", "v"), ("a:", "v"), ("a", "v\r\nb: c"), ("a", "v\0"), ("a\n", "v")] {
            assert!(matches!(add(name, value), Err(Error::Protocol(_))), "{name:?}: {value:?}");
        }
        for (names, why) in [
            (
                &["Host", "UPGRADE", "connection", "content-length", "transfer-encoding", "Sec-WebSocket-Whatever"][..],
                "belongs to the opening handshake",
            ),
            (&HOP_FIELDS, "is for one hop"),
            (&["TE", "Keep-Alive"], "is for one hop"),
            (&["Proxy-Authorization", "Proxy-Authenticate", "proxy-connection", "PROXY-X"], "is for proxies"),
            (&["Expect"], "announces a body"),
        ] {
            for name in names {
                let error = add(name, "v").unwrap_err();
                assert!(matches!(&error, Error::Protocol(text) if text.contains(why)), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        assert!(add("X-Empty", "").is_ok() && add("User-Agent", "grüße\t1").is_ok());
    }

    #[test]
    fn the_hosts_limits_cap_what_a_guest_asks_for() {
        let ask = |timeout, size, interval| {
            check(ConnectConfig {
                timeout: Some(Duration::from_millis(timeout)),
                max_message_size: Some(size),
                keepalive_interval: Some(Duration::from_millis(interval)),
                ..ConnectConfig::new("ws://a/")
            })
            .unwrap()
        };
        let host = Settings::default();
        let most = ask(u64::from(u32::MAX), usize::MAX, 0);
        assert_eq!(most.timeout, host.connect_timeout_max);
        assert_eq!(most.sizes.max_message_size, host.max_message_size_limit);
        assert_eq!(most.keepalive, Some(host.keepalive_floor));
        assert_eq!(ask(0, 1, 5000).timeout, host.connect_timeout_max);
        let own = ask(250, 1, 5000);
        assert_eq!((own.timeout, own.sizes.max_message_size), (Duration::from_millis(250), 1));
        assert_eq!(own.keepalive, Some(Duration::from_secs(5)));
    }
}
