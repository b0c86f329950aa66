//! The values of settings, as people write them.

use super::rule::name_fault;
use bytesize::ByteSize;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};
use url::{Host, Url};
use websocket_protocol::deflate;

/// A proxy: `http://[user:password@]host:port` for HTTP CONNECT, `socks5://` or `socks5h://` for SOCKS5. `Debug` shows no
/// credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// The URL, credentials included.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it speaks SOCKS5, not HTTP CONNECT.
    pub(crate) fn is_socks(&self) -> bool {
        self.0.scheme() != "http"
    }

    /// Whether its scheme has it resolve names.
    pub(crate) fn resolves_names(&self) -> bool {
        self.0.scheme() == "socks5h"
    }

    /// Its own host, without the brackets of IPv6, and port.
    pub(crate) fn address(&self) -> (&str, u16) {
        let default = if self.is_socks() { 1080 } else { 80 };
        (self.0.host_str().unwrap_or_default().trim_matches(['[', ']']), self.0.port().unwrap_or(default))
    }

    /// User and password for SOCKS5 (RFC 1929); `None` without any.
    pub(crate) fn socks_credentials(&self) -> Option<Result<(String, String), String>> {
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().ok();
            decoded.filter(|text| (1..=255).contains(&text.len())).map(String::from)
        };
        let (user, password) = (self.0.username(), self.0.password().unwrap_or_default());
        if user.is_empty() && password.is_empty() {
            return None;
        }
        let both = decode(user).zip(decode(password));
        Some(both.ok_or_else(|| "the user and the password for SOCKS5 have 1 to 255 bytes of UTF-8 each".to_owned()))
    }

    fn fault(&self) -> Option<String> {
        let host = match self.0.host() {
            Some(Host::Domain(name)) => name_fault(name),
            Some(_) => None,
            None => Some("it is missing".to_owned()),
        };
        if let Some(fault) = host {
            return Some(format!("the host is invalid: {fault}"));
        }
        if self.0.port() == Some(0) {
            return Some("port 0 cannot be dialled".to_owned());
        }
        if !matches!(self.0.path(), "" | "/") || self.0.query().is_some() || self.0.fragment().is_some() {
            return Some("a proxy has no path; percent-encode /, ? and # in its password".to_owned());
        }
        // SOCKS5 sends the length of the user, so a colon in it is not the end.
        let fault = credential_fault(&self.0, self.is_socks());
        fault.or_else(|| self.socks_credentials().filter(|_| self.is_socks()).and_then(Result::err))
    }
}

/// Why the credentials of a URL cannot be sent. RFC 7617 section 2 forbids control characters, and a colon in the user
/// unless `allows_colon`: the receiver would take what follows for the password.
pub(crate) fn credential_fault(url: &Url, allows_colon: bool) -> Option<String> {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy();
    let (user, password) = (decode(url.username()), decode(url.password().unwrap_or_default()));
    if user.contains(char::is_control) || password.contains(char::is_control) {
        Some("the user or the password has a control character".to_owned())
    } else if user.contains(':') && !allows_colon {
        Some("the user has a colon, which ends it (RFC 7617 section 2)".to_owned())
    } else {
        None
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let syntax = "write http://host:port or http://user:password@host:port, or the same with socks5:// (names are \
                      resolved here) or socks5h:// (the proxy resolves them)";
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "socks5" | "socks5h") => {
                let proxy = Proxy(url);
                proxy.fault().map_or(Ok(proxy), |fault| Err(format!("{fault}; {syntax}")))
            }
            _ => Err(syntax.to_owned()),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = self.address();
        write!(f, "Proxy({}://{host}:{port})", self.0.scheme())
    }
}

/// Where the names of destinations are resolved when they are dialled through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyDns {
    /// By this host, which checks the addresses and asks the proxy for one.
    #[default]
    Local,
    /// By the proxy, which is asked for the name.
    Proxy,
}

impl FromStr for ProxyDns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(ProxyDns::Local),
            "proxy" => Ok(ProxyDns::Proxy),
            _ => Err("write local or proxy".to_owned()),
        }
    }
}

/// The highest count: counts become permits of a semaphore, which are taken as `u32`.
pub(super) const MAX_COUNT: usize = {
    let permits = tokio::sync::Semaphore::MAX_PERMITS;
    if permits < u32::MAX as usize { permits } else { u32::MAX as usize }
};

/// Several values in one text, separated by commas: hosts whose configuration is a map of strings
/// have no other way to repeat one.
pub(super) fn list(text: &str, mut each: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    text.split(',').try_for_each(|part| each(part.trim()))
}

/// The longest duration: deadlines and timers can hold it on every platform.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The largest size in bytes: sums of a few fit in a `usize`.
const LARGEST: usize = if usize::BITS >= 64 { 1 << 40 } else { 1 << 29 };

/// The waits that may be zero.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
/// The durations that limit something, and so cannot be zero.
pub(super) const LIMIT: RangeInclusive<Duration> = Duration::from_millis(1)..=LONGEST;
/// The sizes of messages and buffers.
pub(super) const SIZE: RangeInclusive<usize> = 1..=LARGEST;
/// The levels of compression.
pub(super) const LEVEL: RangeInclusive<u8> = 1..=9;
/// The windows of compression, in bits.
pub(super) const WINDOW_BITS: RangeInclusive<u8> = deflate::MIN_WINDOW_BITS..=deflate::MAX_WINDOW_BITS;
/// The numbers of connections.
pub(super) const COUNT: RangeInclusive<usize> = 1..=MAX_COUNT;

/// Whether a duration is in its range.
pub(super) fn check_duration(value: Duration, range: &RangeInclusive<Duration>) -> Result<(), String> {
    let [least, most] = [range.start(), range.end()].map(|end| in_one_unit(*end));
    if range.contains(&value) { Ok(()) } else { Err(format!("write a duration from {least} to {most}")) }
}

/// A duration as a whole number of the largest unit that divides it: humantime shows 365 days as eleven months and some.
fn in_one_unit(duration: Duration) -> String {
    const UNITS: [(&str, u128); 4] =
        [("days", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000)];
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let (unit, length) =
        UNITS.into_iter().find(|(_, length)| milliseconds.is_multiple_of(*length)).unwrap_or(("ms", 1));
    format!("{}{unit}", milliseconds / length)
}

/// Whether a size is in its range.
pub(super) fn check_size(value: usize) -> Result<(), String> {
    let most = ByteSize(*SIZE.end() as u64);
    if SIZE.contains(&value) {
        Ok(())
    } else {
        Err(format!("write a size from 1 byte to {most}, such as 4096 or 16MiB"))
    }
}

/// Whether a number of connections is in its range.
pub(super) fn check_count(value: usize) -> Result<(), String> {
    let (least, most) = COUNT.into_inner();
    if COUNT.contains(&value) { Ok(()) } else { Err(format!("write a whole number from {least} to {most}")) }
}

/// Whether a small number is in its range.
pub(super) fn check_number(value: u8, range: &RangeInclusive<u8>) -> Result<(), String> {
    if range.contains(&value) { Ok(()) } else { Err(number_from(range)) }
}

fn number_from(range: &RangeInclusive<u8>) -> String {
    format!("write a whole number from {} to {}", range.start(), range.end())
}

/// Reads a size as the settings do, for flags that are not settings: from 1 byte to 1 TiB.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let size = size(text.trim())?;
    check_size(size).map(|()| size)
}

/// Reads a duration that limits something as the settings do, for flags that are not settings: from 1 ms to 365 days.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_time_limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text.trim())?;
    check_duration(limit, &LIMIT).map(|()| limit)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a duration such as 500ms, 30s or 2m"))
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse().map_err(|_| "write a size such as 4096, 64KiB or 16MiB".to_owned())?;
    // Too large for this machine is out of range too.
    Ok(usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("write a whole number from 1 to {MAX_COUNT}"))
}

pub(super) fn number(text: &str, range: &RangeInclusive<u8>) -> Result<u8, String> {
    text.parse().map_err(|_| number_from(range))
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

pub(super) fn file_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("name a file".to_owned()) } else { Ok(text.into()) }
}

/// The longest `User-Agent`, in bytes.
const MAX_USER_AGENT: usize = 256;

/// The value of a `User-Agent` field; `None` where it is empty.
pub(super) fn user_agent(text: &str) -> Result<Option<HeaderValue>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let agent = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii() && text.len() <= MAX_USER_AGENT);
    agent.map(Some).ok_or_else(|| {
        format!("write up to {MAX_USER_AGENT} ASCII characters such as `Product/1.0`, or nothing to send no User-Agent")
    })
}
