//! The opening handshake of a server over hyper: upgrades, and the requests that do not get one.
//! `websocket_protocol::handshake` has its rules.

use crate::{
    AcceptConfig, ConnectError, Connection, Endpoint, Error, Reason,
    drive::{
        driver::Driver,
        transport::{Permits, Transport},
    },
    observe::record::Attempt,
    open::opening::{HeaderLines, Opening},
};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, uri::Authority};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::{fmt, io};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use websocket_protocol::{
    Role,
    deflate::Compression,
    handshake::{self, Rejection, ServerHandshake},
};

/// A request that becomes a WebSocket. It holds one of the endpoint's connection slots. Answer it with
/// [`Upgrade::response`], then [`Upgrade::accept`] it. Dropping it frees the slot.
pub struct Upgrade {
    on_upgrade: OnUpgrade,
    opening: Opening,
    handshake: ServerHandshake,
    /// The compression that was agreed on, and the header that says so.
    compression: Option<AgreedCompression>,
    admission: Admission,
}

/// Shows neither the target nor what the client offers: both may hold secrets.
impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("subprotocol", &self.opening.subprotocol).finish_non_exhaustive()
    }
}

/// What an endpoint grants to a request that it lets upgrade.
pub(crate) struct Admission {
    pub(crate) attempt: Attempt,
    pub(crate) endpoint: Endpoint,
    pub(crate) permits: Permits,
}

/// The compression that a server and its client agreed on.
#[derive(Debug)]
pub(crate) struct AgreedCompression {
    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub(crate) header: HeaderValue,
    pub(crate) compression: Compression,
}

impl Upgrade {
    /// Checks a request, and asks for admission if it is one of RFC 6455 section 4.2.1.
    pub(crate) fn new<B>(
        request: &mut Request<B>,
        secure: bool,
        admit: impl FnOnce(&HeaderMap, &ServerHandshake) -> Result<(Admission, Option<AgreedCompression>), Refusal>,
    ) -> Result<Self, Refusal> {
        let handshake = ServerHandshake::new(request, secure)?;
        let (admission, compression) = admit(request.headers(), &handshake)?;
        let opening = Opening {
            url: request.uri().to_string(),
            subprotocol: None,
            headers: HeaderLines::from(request.headers()),
        };
        let on_upgrade = hyper::upgrade::on(request);
        Ok(Upgrade { on_upgrade, opening, handshake, compression, admission })
    }

    /// The subprotocols that the client offers, most wanted first.
    pub fn subprotocols(&self) -> &[String] {
        self.handshake.subprotocols()
    }

    /// Chooses one of the subprotocols that the client offers. A name that it does not offer chooses none.
    pub fn choose(&mut self, subprotocol: &str) {
        self.opening.subprotocol = self.subprotocols().iter().find(|offered| *offered == subprotocol).cloned();
    }

    /// The response that upgrades the request.
    pub fn response<B: Default>(&self) -> Response<B> {
        let extensions = self.compression.as_ref().map(|agreed| &agreed.header);
        self.handshake.response(self.opening.subprotocol.as_deref(), extensions).map(|_| B::default())
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
        self.accept_with(&AcceptConfig::new()).await
    }

    /// [`Upgrade::accept`] with other limits than those of the host's settings. Cancel safe in the same way.
    ///
    /// # Errors
    /// Those of [`Upgrade::accept`].
    pub async fn accept_with(self, config: &AcceptConfig) -> Result<Connection, ConnectError> {
        let Admission { attempt, endpoint, permits } = self.admission;
        let limits = endpoint.accepting_limits(config);
        let (transport, input) = match self.on_upgrade.await {
            Ok(upgraded) => unwrap(upgraded),
            Err(error) => {
                let why = Error::ConnectionFailed(format!("the client went away before its upgrade: {error}"));
                let failure = ConnectError::new(Reason::Transport(io::ErrorKind::UnexpectedEof), why);
                return Err(attempt.failed(failure.caused_by(error)));
            }
        };
        let record = attempt.opened(self.opening.subprotocol.as_deref(), None);
        let compression = self.compression.map(|agreed| agreed.compression);
        let driver = Driver::new(transport, input, Role::Server, limits, compression, record);
        Ok(Connection::open(driver, limits, self.opening, endpoint.timer(), permits))
    }
}

/// What hyper hands over, without hyper's own layers where it is TCP or TLS over it, and what the client sent
/// behind its request.
fn unwrap(upgraded: Upgraded) -> (Box<dyn Transport>, BytesMut) {
    let unwrapped = layer::<TcpStream>(upgraded);
    #[cfg(feature = "tls")]
    let unwrapped = unwrapped.or_else(layer::<tokio_rustls::server::TlsStream<TcpStream>>);
    match unwrapped {
        Ok(unwrapped) => unwrapped,
        Err(upgraded) => (Box::new(TokioIo::new(upgraded)), BytesMut::new()),
    }
}

fn layer<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    upgraded: Upgraded,
) -> Result<(Box<dyn Transport>, BytesMut), Upgraded> {
    let parts = upgraded.downcast::<TokioIo<T>>()?;
    Ok((Box::new(parts.io.into_inner()), parts.read_buf.into()))
}

/// Checks an HTTP/1 request that hyper received, whether or not it asks for an upgrade, and returns the authority
/// that it is for: that of its target, or that of its `Host` field. `None` is for HTTP/1.0, which may name none.
/// `secure` says that it came over TLS. A server calls this before it acts on a request; [`Endpoint::upgrade`] does.
///
/// [`Endpoint::upgrade`]: crate::Endpoint::upgrade
///
/// # Errors
/// [`Refusal`], whose response also closes the connection: the two ends may not agree where the next request begins.
pub fn check_request<B>(request: &Request<B>, secure: bool) -> Result<Option<Authority>, Refusal> {
    Ok(handshake::check_request(request, secure)?)
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.status(), self.0)]
pub struct Refusal(Cause);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Cause {
    /// The request is invalid.
    #[error("{0}")]
    Rejected(Rejection),
    #[error("as many WebSockets are open here as may be; try again later")]
    Full,
    #[error(
        "pages of this origin may not open WebSockets here; whoever runs the server can allow it with `allow-origin`"
    )]
    Foreign,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Refusal(Cause::Rejected(rejection))
    }
}

impl Refusal {
    /// For a request that is right, at a time when no more connections are allowed.
    pub(crate) const FULL: Refusal = Refusal(Cause::Full);
    /// For a page of another site.
    pub(crate) const FOREIGN: Refusal = Refusal(Cause::Foreign);

    /// The HTTP status: what is wrong with the request, 403 for a page of another site, or 503 when no more
    /// connections are allowed.
    pub fn status(&self) -> StatusCode {
        match self.0 {
            Cause::Rejected(rejection) => rejection.status(),
            Cause::Full => StatusCode::SERVICE_UNAVAILABLE,
            Cause::Foreign => StatusCode::FORBIDDEN,
        }
    }

    /// Whether the request gets this response even from a server that could answer it otherwise than with an upgrade.
    pub fn is_final(&self) -> bool {
        match self.0 {
            Cause::Rejected(rejection) => rejection.closes(),
            Cause::Full | Cause::Foreign => true,
        }
    }

    /// The response that tells the client, with the reason as its body (RFC 6455 section 4.2.2).
    pub fn response<B: From<String>>(&self) -> Response<B> {
        let response = match self.0 {
            Cause::Rejected(rejection) => rejection.response(),
            cause => handshake::refusal(self.status(), &cause.to_string(), false),
        };
        response.map(B::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, Settings};
    use http::HeaderValue;

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
    fn an_invalid_request_is_refused_and_may_be_answered_otherwise_unless_the_connection_ends() {
        let endpoint = Endpoint::new(Settings::default()).unwrap();
        for (name, value, status, is_final) in [
            ("upgrade", Some("h2c"), 426, false),
            ("sec-websocket-version", Some("8"), 426, false),
            ("sec-websocket-key", None, 400, false),
            ("expect", Some("100-continue"), 417, false),
            ("content-length", Some("1"), 400, true),
            ("transfer-encoding", Some("gzip"), 501, true),
            ("host", Some("a b"), 400, true),
        ] {
            let refusal = endpoint.upgrade(&mut request(&[(name, value)]), false).err().unwrap();
            assert_eq!((refusal.status().as_u16(), refusal.is_final()), (status, is_final), "{name}: {value:?}");
            let response = refusal.response::<String>();
            assert_eq!(response.headers().contains_key("connection"), is_final, "{name}: {value:?}");
            assert_eq!(refusal.to_string(), format!("{}: {}", refusal.status(), response.body().trim_end()));
        }
    }

    #[test]
    fn at_the_limit_the_response_is_503_and_the_connection_goes_on() {
        let mut settings = Settings::default();
        settings.set("max-connections", "1").unwrap();
        let endpoint = Endpoint::new(settings).unwrap();
        let _first = endpoint.upgrade(&mut request(&[]), false).ok().unwrap();
        let refusal = endpoint.upgrade(&mut request(&[]), false).err().unwrap();
        let response = refusal.response::<String>();
        assert_eq!((response.status().as_u16(), response.headers().get("connection")), (503, None));
        assert!(refusal.is_final() && response.body().contains("try again later"));
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
