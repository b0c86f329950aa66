//! `wasi:http`, which many toolchains import whether their guest uses it or not: it is there, and requests are denied
//! unless the operator allows them. Then they go where WebSockets may go, by the same rules, certificates and limits.

use futures_util::stream::try_unfold;
use http::{
    HeaderName, Method, Uri,
    header::{EXPECT, TE, USER_AGENT},
    uri::Scheme,
};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{error::Error as _, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks,
};
use websocket_connection::{
    ConnectError, Endpoint, Reason, Step, TlsReason,
    tls::{Side, explain},
};

/// What a guest's store holds for `wasi:http`.
pub(crate) struct GuestHttp {
    ctx: WasiHttpCtx,
    hooks: Requests,
}

impl GuestHttp {
    /// Requests that go out through this endpoint, where the operator allows them.
    pub(crate) fn new(allowed: bool, endpoint: &Endpoint) -> GuestHttp {
        let hooks = match allowed {
            true => Requests::Allowed(endpoint.clone()),
            false => Requests::Denied { warned: false },
        };
        GuestHttp { ctx: WasiHttpCtx::default(), hooks }
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: &mut self.ctx, hooks: &mut self.hooks, table }
    }
}

enum Requests {
    Allowed(Endpoint),
    /// `warned`: the operator knows.
    Denied {
        warned: bool,
    },
}

/// What is left of an exchange once the response's head is there, in the form of the hooks.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Methods that no guest may use, as in browsers: `CONNECT` makes a tunnel of the connection, and the others send
/// the request's fields back.
const FORBIDDEN_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

fn is_forbidden_method(method: &Method) -> bool {
    FORBIDDEN_METHODS.iter().any(|forbidden| method.as_str().eq_ignore_ascii_case(forbidden))
}

/// Whether a field is for one hop of the way, which is the host's. `Expect` is among them: the host sends a body
/// without waiting for 100.
fn is_forbidden_header(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || [EXPECT, TE].contains(name) || name.as_str().starts_with("proxy-")
}

impl WasiHttpHooks for Requests {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden_header)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _rest: Rest,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Rest)>> + Send> {
        match self {
            Requests::Allowed(_) if is_forbidden_method(request.method()) => {
                Box::new(async { Err(Error::HttpRequestMethodInvalid) })
            }
            Requests::Allowed(endpoint) => Box::new(exchange(endpoint.clone(), request, options.unwrap_or_default())),
            Requests::Denied { warned } => {
                let authority = request.uri().authority();
                if std::mem::replace(warned, true) {
                    tracing::debug!(?authority, "the guest's HTTP request is denied");
                } else {
                    tracing::warn!(?authority, "the guest's HTTP requests are denied; --allow-http allows them");
                }
                Box::new(async { Err(Error::HttpRequestDenied) })
            }
        }
    }
}

/// The most header fields of a response.
const MAX_FIELDS: usize = 1000;

/// A client that takes the responses that browsers take: folded header lines (RFC 9112 section 5.2), white space before
/// a colon, and many fields.
fn client() -> http1::Builder {
    let mut client = http1::Builder::new();
    client.allow_obsolete_multiline_headers_in_responses(true).allow_spaces_after_header_name_in_responses(true);
    client.max_headers(MAX_FIELDS);
    client
}

/// One request and its response, on a connection of its own. The endpoint limits how long dialling takes; what else
/// the guest limits, it limits by its options.
async fn exchange(
    endpoint: Endpoint,
    mut request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<(http::Response<WasiBody>, Rest)> {
    let limit = |limit: Option<Duration>| limit.unwrap_or(Duration::MAX);
    let stream = timeout(limit(options.connect_timeout), dial(&endpoint, request.uri()));
    let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = client().handshake(TokioIo::new(stream)).await.map_err(exchange_failed)?;
    // It ends with the exchange: when the response's body was read or dropped, or this future was.
    let connection = tokio::spawn(connection);
    // What a server wants to see in the request's line, RFC 9112 section 3.2.1.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    if let Some(agent) = &endpoint.settings().user_agent {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
    }
    let response = timeout(limit(options.first_byte_timeout), sender.send_request(request));
    let response = response.await.map_err(|_| Error::ConnectionReadTimeout)?.map_err(exchange_failed)?;
    let rest = async {
        connection.await.map_err(|error| Error::InternalError(Some(error.to_string())))?.map_err(exchange_failed)
    };
    Ok((response.map(|body| limited(body, limit(options.between_bytes_timeout))), Box::new(rest)))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn dial(endpoint: &Endpoint, uri: &Uri) -> Result<Box<dyn Stream>> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let tls = uri.scheme() == Some(&Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let authority = format!("{}:{port}", authority.host());
    let dialled: Result<Box<dyn Stream>, _> = match tls {
        true => endpoint.connect_tls(&authority).await.map(|stream| Box::new(stream) as _),
        false => endpoint.connect_tcp(&authority).await.map(|stream| Box::new(stream) as _),
    };
    dialled.map_err(dial_failed)
}

/// The error of `wasi:http` for a connection that did not open.
fn dial_failed(failure: ConnectError) -> Error {
    match failure.reason() {
        Reason::InvalidRequest => Error::HttpRequestUriInvalid,
        Reason::Limit { .. } => Error::ConnectionLimitReached,
        Reason::Denied { address: None } => Error::HttpRequestDenied,
        Reason::Denied { address: Some(_) } => Error::DestinationIpProhibited,
        Reason::Dns => Error::DnsError { rcode: None, info_code: None },
        Reason::Tcp(kind) | Reason::Transport(kind) => transport_failed(*kind),
        Reason::Tls(reason) => tls_failed(*reason, failure.source()),
        // Of the proxy: no server is asked for an upgrade here.
        Reason::Refused { status, .. } => match status.as_u16() {
            401 | 403 | 407 => Error::HttpRequestDenied,
            504 => Error::ConnectionTimeout,
            _ => Error::DestinationUnavailable,
        },
        Reason::RefusedByProxy => Error::HttpRequestDenied,
        Reason::Protocol => Error::HttpProtocolError,
        Reason::Timeout(Step::Dns) => Error::DnsTimeout,
        Reason::Timeout(_) => Error::ConnectionTimeout,
        _ => Error::InternalError(Some(failure.to_string())),
    }
}

fn transport_failed(kind: io::ErrorKind) -> Error {
    use io::ErrorKind::*;
    match kind {
        ConnectionRefused => Error::ConnectionRefused,
        TimedOut => Error::ConnectionTimeout,
        HostUnreachable | NetworkUnreachable | AddrNotAvailable => Error::DestinationIpUnroutable,
        PermissionDenied => Error::DestinationIpProhibited,
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => Error::ConnectionTerminated,
        _ => Error::DestinationUnavailable,
    }
}

fn tls_failed(reason: TlsReason, cause: Option<&(dyn std::error::Error + 'static)>) -> Error {
    match reason {
        TlsReason::Certificate => Error::TlsCertificateError,
        TlsReason::Alert(id) => {
            let cause = cause.and_then(|cause| cause.downcast_ref());
            let alert_message = cause.map(|cause| explain(cause, Side::Client));
            Error::TlsAlertReceived { alert_id: Some(id), alert_message }
        }
        TlsReason::Transport(kind) => transport_failed(kind),
        _ => Error::TlsProtocolError,
    }
}

/// The error of `wasi:http` for an exchange that failed once the connection was open.
fn exchange_failed(error: hyper::Error) -> Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Error::HttpResponseIncomplete,
        Some(cause) => tls_failed(cause.into(), Some(cause)),
        None if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        None if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        None if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        // It may carry an error of the guest's own body.
        None => Error::Hyper(error),
    }
}

/// A body whose frames may not be further apart than this.
fn limited(body: Incoming, apart: Duration) -> WasiBody {
    UnsyncBoxBody::new(StreamBody::new(try_unfold(body, move |mut body| async move {
        let frame = timeout(apart, body.frame()).await.map_err(|_| Error::ConnectionReadTimeout)?;
        Ok(frame.transpose().map_err(exchange_failed)?.map(|frame| (frame, body)))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use websocket_connection::Settings;

    #[tokio::test]
    async fn a_limit_of_connections_has_its_own_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = Settings::default();
        settings.set("allow", "127.0.0.1").unwrap();
        settings.set("max-connections", "1").unwrap();
        let endpoint = Endpoint::new(settings).unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let _first = dial(&endpoint, &uri).await.unwrap();
        assert!(matches!(dial(&endpoint, &uri).await, Err(Error::ConnectionLimitReached)));
    }
}
