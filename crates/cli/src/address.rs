//! The addresses that flags take, each with the schemes that its command can do. Whatever else is refused before anything
//! is opened.

use clap::{
    Arg, Command,
    builder::{PathBufValueParser, TypedValueParser},
    error::ErrorKind,
};
use std::{ffi::OsStr, fmt, path::PathBuf};
use url::Url;

/// A flag whose value is an address. A complaint does not show the value, which may hold a password.
#[derive(Clone)]
struct Address<T: 'static> {
    flag: &'static str,
    read: T,
}

impl<V, T> TypedValueParser for Address<T>
where
    V: Clone + Send + Sync + 'static,
    T: Fn(&str) -> Result<V, String> + Clone + Send + Sync + 'static,
{
    type Value = V;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<V, clap::Error> {
        let text = value.to_str().ok_or_else(|| "the value is not UTF-8".to_owned());
        text.and_then(&self.read).map_err(|why| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--{}: {why}\n", self.flag)).with_cmd(command)
        })
    }
}

/// Reads the value of `--listen`, `ADDRESS:PORT`, of a server whose schemes are these.
pub(crate) fn listen(schemes: &'static str) -> impl TypedValueParser<Value = String> {
    Address { flag: "listen", read: move |text: &str| listen_address(text, schemes) }
}

fn listen_address(text: &str, schemes: &str) -> Result<String, String> {
    let form = "write ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080";
    if scheme(text).is_some() {
        return Err(format!("a scheme does not belong here; {form}: {schemes}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("the port is missing; {form}"))?;
    port.parse::<u16>().map_err(|_| format!("the port is invalid; {form}"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        None if host.is_empty() => Err(format!("the address is missing; {form}, or 0.0.0.0 for every one")),
        None if host.contains([':', '/']) => Err(format!("the address is invalid; {form}")),
        _ => Ok(text.to_owned()),
    }
}

/// `scheme` of `scheme://rest`.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|other| other.is_ascii_alphanumeric() || "+-.".contains(other));
    is_scheme.then_some(scheme)
}

/// An end of a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Host and port.
    Tcp(String),
    WebSocket(Url),
}

/// The schemes that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemes {
    Tcp,
    TcpOrWebSocket,
}

/// What is done with an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Accept,
    Dial,
}

impl Schemes {
    /// How an address with them is written.
    pub(crate) fn forms(self) -> &'static str {
        match self {
            Schemes::Tcp => "tcp://HOST:PORT",
            Schemes::TcpOrWebSocket => "tcp://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH",
        }
    }
}

/// Reads the value of a flag that names an end of a transport.
pub(crate) fn end(flag: &'static str, schemes: Schemes, used: Use) -> impl TypedValueParser<Value = Place> {
    Address { flag, read: move |text: &str| place(text, schemes, used) }
}

fn place(text: &str, schemes: Schemes, used: Use) -> Result<Place, String> {
    let wrong = |what: &str| format!("{what}; write {}", schemes.forms());
    let scheme = scheme(text).ok_or_else(|| wrong("the scheme is missing"))?.to_ascii_lowercase();
    let takes = match scheme.as_str() {
        "tcp" => true,
        "ws" | "wss" => schemes == Schemes::TcpOrWebSocket,
        _ => false,
    };
    if !takes {
        return Err(wrong(&format!("{scheme}:// is not possible here")));
    }
    // Only schemes that it knows have their hosts checked. They have a port of their own, which TCP has not.
    let as_known = if scheme == "tcp" { text.replacen(&text[..3], "ws", 1) } else { text.to_owned() };
    let url = Url::parse(&as_known).map_err(|error| wrong(&error.to_string()))?;
    if scheme == "tcp" {
        let port = Url::parse(text).ok().and_then(|url| url.port()).ok_or_else(|| wrong("the port is missing"))?;
        let is_bare = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        if !is_bare || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("TCP has a host and a port alone"));
        }
        check_port(port, used)?;
        return Ok(Place::Tcp(format!("{}:{port}", url.host_str().unwrap_or_default())));
    }
    check_port(url.port_or_known_default().unwrap_or_default(), used)?;
    if url.fragment().is_some() {
        return Err(wrong("a WebSocket's URL has no fragment"));
    }
    let asks_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if used == Use::Accept && asks_more {
        return Err(wrong("a user or a query does not belong into an address to listen on"));
    }
    Ok(Place::WebSocket(url))
}

fn check_port(port: u16, used: Use) -> Result<(), String> {
    if port == 0 && used == Use::Dial { Err("nothing can be reached at port 0".to_owned()) } else { Ok(()) }
}

impl Place {
    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        match self {
            Place::Tcp(authority) => authority.clone(),
            Place::WebSocket(url) => {
                let port = url.port_or_known_default().unwrap_or_default();
                format!("{}:{port}", url.host_str().unwrap_or_default())
            }
        }
    }

    /// Whether TLS is spoken there.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Place::WebSocket(url) if url.scheme() == "wss")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(authority) => write!(f, "tcp://{authority}"),
            // Without credentials and the query, which may be one.
            Place::WebSocket(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{}://{host}{port}{}", url.scheme(), url.path())
            }
        }
    }
}

/// Reads the path of a file. A URL is refused, unless a file has this name.
pub(crate) fn file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.to_str().and_then(scheme) {
        Some(scheme) if !path.exists() => {
            Err(format!("{scheme}:// cannot be read here: write the path of a file on this machine"))
        }
        _ => Ok(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let read = |text| place(text, Schemes::TcpOrWebSocket, Use::Dial);
        assert_eq!(read("tcp://localhost:80"), Ok(Place::Tcp("localhost:80".to_owned())));
        assert_eq!(read("TCP://Localhost:80/"), Ok(Place::Tcp("localhost:80".to_owned())));
        assert_eq!(read("tcp://127.1:8080"), Ok(Place::Tcp("127.0.0.1:8080".to_owned())));
        assert_eq!(read("tcp://[::1]:80").unwrap().authority(), "[::1]:80");
        assert_eq!(read("wss://example.com/t").unwrap().authority(), "example.com:443");
        assert_eq!(read("wss://me:secret@example.com/t?token=secret").unwrap().to_string(), "wss://example.com/t");
        for (wrong, what) in [
            ("localhost:80", "the scheme is missing"),
            ("tcp://localhost", "the port is missing"),
            ("tcp://localhost:80/path", "TCP has a host and a port alone"),
            ("tcp://me:secret@localhost:80", "TCP has a host and a port alone"),
            ("tcp://localhost:70000", "invalid port"),
            ("http://localhost:80", "http:// is not possible here"),
            ("ws://", "empty host"),
            ("ws://localhost:80/#part", "no fragment"),
            ("x", "the scheme is missing"),
        ] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains(what) && why.contains("write tcp://HOST:PORT"), "{wrong}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
        for nowhere in ["tcp://localhost:0", "ws://localhost:0/"] {
            assert!(read(nowhere).unwrap_err().contains("port 0"));
            assert!(place(nowhere, Schemes::TcpOrWebSocket, Use::Accept).is_ok());
        }
        assert!(place("ws://me@localhost/", Schemes::TcpOrWebSocket, Use::Accept).is_err());
    }

    #[test]
    fn addresses_to_listen_on_have_no_scheme() {
        let read = |text: &str| listen_address(text, "it serves http://");
        for right in ["127.0.0.1:0", "[::1]:8080", "localhost:80", "0.0.0.0:65535"] {
            assert_eq!(read(right).as_deref(), Ok(right));
        }
        for wrong in
            ["8080", ":8080", "::1:8080", "unix:/run/socket", "/run/socket", "localhost:http", "localhost:70000"]
        {
            assert!(read(wrong).unwrap_err().contains("write ADDRESS:PORT"), "{wrong}");
        }
        for scheme in ["http", "https", "ws", "wss", "tcp", "unix"] {
            let why = read(&format!("{scheme}://127.0.0.1:0")).unwrap_err();
            assert!(why.contains("a scheme does not belong here") && why.contains("it serves http://"), "{why}");
        }
    }
}
