//! `wasi:http`, which many toolchains import whether their guest uses it or not: it is there, and requests are denied
//! unless the operator allows them. Then they go where WebSockets may go, by the same rules, certificates and limits.

use clap::{Arg, ArgAction, ArgMatches};
use futures_util::stream::try_unfold;
use http::{Uri, uri::Scheme};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};
use websocket_connection::{Endpoint, Error as Failure};

pub(crate) fn argument() -> Arg {
    Arg::new("allow-http")
        .long("allow-http")
        .action(ArgAction::SetTrue)
        .help("Let the guest make HTTP requests, to the destinations that `--allow` grants; without it they are denied")
}

/// What a guest's store holds for `wasi:http`.
pub(crate) struct GuestHttp {
    ctx: WasiHttpCtx,
    hooks: Requests,
}

impl GuestHttp {
    /// Requests that go out through this endpoint, where the command line allows them.
    pub(crate) fn new(matches: &ArgMatches, endpoint: &Endpoint) -> GuestHttp {
        let hooks = match matches.get_flag("allow-http") {
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

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _rest: Rest,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Rest)>> + Send> {
        match self {
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
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange: when the response's body was read or dropped, or this future was.
    let connection = tokio::spawn(connection);
    // What a server wants to see in the request's line, RFC 9112 section 3.2.1.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let response = timeout(limit(options.first_byte_timeout), sender.send_request(request));
    let response = response.await.map_err(|_| Error::ConnectionReadTimeout)??;
    let rest =
        async { connection.await.map_err(|error| Error::InternalError(Some(error.to_string())))?.map_err(Error::from) };
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
    dialled.map_err(|error| match error {
        Failure::AuthenticationFailed(_) => Error::HttpRequestDenied,
        Failure::InvalidUrl(_) => Error::HttpRequestUriInvalid,
        Failure::Timeout => Error::ConnectionTimeout,
        other => Error::InternalError(Some(other.to_string())),
    })
}

/// A body whose frames may not be further apart than this.
fn limited(body: Incoming, apart: Duration) -> WasiBody {
    UnsyncBoxBody::new(StreamBody::new(try_unfold(body, move |mut body| async move {
        let frame = timeout(apart, body.frame()).await.map_err(|_| Error::ConnectionReadTimeout)?;
        Ok(frame.transpose()?.map(|frame| (frame, body)))
    })))
}
