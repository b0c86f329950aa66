//! The values of settings, as people write them.

use http::HeaderValue;
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};
use url::Url;

/// An HTTP CONNECT proxy: `http://[user:password@]host:port`. `Debug` shows no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// The URL, credentials included.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Url::parse(text)
            .ok()
            .filter(|url| url.scheme() == "http" && url.has_host())
            .map(Proxy)
            .ok_or_else(|| "write http://host:port or http://user:password@host:port".to_owned())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port_or_known_default().unwrap_or_default();
        write!(f, "Proxy({}:{port})", self.0.host_str().unwrap_or_default())
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

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a duration such as 500ms, 30s or 2m"))
}

/// A duration that limits something and so cannot be zero.
pub(super) fn limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a limit must be over zero".to_owned()),
        limit => Ok(limit),
    }
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_| "write a size such as 4096, 64KiB or 16MiB".to_owned())?;
    usize::try_from(size.as_u64()).map_err(|_| "it is more than this machine can address".to_owned())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count <= MAX_COUNT);
    count.ok_or_else(|| format!("write a whole number up to {MAX_COUNT}"))
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
