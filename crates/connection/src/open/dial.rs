//! From a checked request to an open byte stream: policy, DNS, TCP, and the proxy where there is one.

use crate::{
    ConnectError, Error, Reason, Step,
    error::connect::Progress,
    open::{
        head::read_head,
        hook::Destination,
        policy::{Denial, Policy},
        refusal::refusal,
        request::{Request, basic_authorization},
    },
    settings::{
        Proxy, ProxyDns, Settings,
        rule::{is_localhost, without_root},
    },
};
use bytes::BytesMut;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderValue, StatusCode};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host},
    time::sleep,
};
use tokio_socks::{IntoTargetAddr, TargetAddr, tcp::Socks5Stream};
use url::Host;

/// The time after which the next address is tried in parallel (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses that are not granted one error names.
const MAX_DENIALS: usize = 16;

/// Opens a byte stream to the request's host, at addresses that the policy grants and no others, through the proxy of
/// the settings.
///
/// # Errors
/// [`Error::AuthenticationFailed`] where the policy, or the proxy, refuses;
/// [`Error::ConnectionFailed`] for everything that the network does.
pub(crate) async fn dial(
    request: &Request,
    policy: &Policy,
    settings: &Settings,
    progress: &Progress,
) -> Result<TcpStream, ConnectError> {
    progress.reach(Step::Dns);
    let direct = settings.no_proxy.iter().any(|rule| rule.names(&request.host, request.port));
    let proxy = settings.proxy.as_ref().filter(|_| !direct);
    if let Some(proxy) = proxy
        && (settings.proxy_dns == ProxyDns::Proxy || proxy.resolves_names())
    {
        let destination = unresolved(request, policy).await?;
        return through(proxy, &[destination], settings, request.timeout, progress).await;
    }
    let Resolved { addresses, denials } = resolve(request, policy).await?;
    let dialled = match proxy {
        None => {
            progress.reach(Step::Tcp);
            race(addresses).await.map_err(|errors| ConnectError::tcp(&request.authority(), errors))
        }
        Some(proxy) => {
            let destinations: Vec<_> = addresses.into_iter().map(TunnelEnd::Address).collect();
            through(proxy, &destinations, settings, request.timeout, progress).await
        }
    };
    // The address that is not granted may be the one at which the server listens.
    dialled.map_err(|failure| match denials.as_slice() {
        [] => failure,
        denials => failure.with_note(&Denial::describe(denials)),
    })
}

/// Where a proxy is asked to connect.
#[derive(Debug, Clone)]
enum TunnelEnd {
    Address(SocketAddr),
    Name(String, u16),
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelEnd::Address(address) => write!(f, "{address}"),
            TunnelEnd::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl IntoTargetAddr<'static> for TunnelEnd {
    fn into_target_addr(self) -> tokio_socks::Result<TargetAddr<'static>> {
        Ok(match self {
            TunnelEnd::Address(address) => TargetAddr::Ip(address),
            TunnelEnd::Name(name, port) => TargetAddr::Domain(name.into(), port),
        })
    }
}

/// The addresses of a host: those that the policy grants, and the denials of others.
struct Resolved {
    addresses: Vec<SocketAddr>,
    denials: Vec<Denial>,
}

/// `address` is the one that is not granted, of a host that is.
fn denied(address: Option<IpAddr>, denials: &[Denial]) -> ConnectError {
    let error = Error::AuthenticationFailed(Denial::describe(denials));
    ConnectError::new(Reason::Denied { address }, error)
}

/// What a proxy that resolves names is asked for.
async fn unresolved(request: &Request, policy: &Policy) -> Result<TunnelEnd, ConnectError> {
    let (destination, address) = match &request.host {
        Host::Domain(name) => (TunnelEnd::Name(name.clone(), request.port), None),
        Host::Ipv4(address) => (TunnelEnd::Address((*address, request.port).into()), Some(IpAddr::V4(*address))),
        Host::Ipv6(address) => (TunnelEnd::Address((*address, request.port).into()), Some(IpAddr::V6(*address))),
    };
    if let Err(denial) = policy.check_unresolved(&request.host, request.port) {
        let address = address.filter(|_| policy.grants_host(&request.host, request.port));
        return Err(denied(address, &[denial]));
    }
    policy.ask(wanted(request, address)).await.map_err(|denial| denied(address, &[denial]))?;
    Ok(destination)
}

/// What the embedder's policy is asked about.
fn wanted(request: &Request, address: Option<IpAddr>) -> Destination {
    let host = match &request.host {
        Host::Domain(name) => without_root(name).to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_canonical().to_string(),
    };
    let address = address.map(|address| address.to_canonical());
    Destination { host, address, port: request.port, secure: request.secure }
}

/// The addresses of the request's host. What is checked here is what is dialled: nothing looks the name up again.
async fn resolve(request: &Request, policy: &Policy) -> Result<Resolved, ConnectError> {
    policy.check_host(&request.host, request.port).map_err(|denial| denied(None, &[denial]))?;
    let found: Vec<IpAddr> = match &request.host {
        Host::Ipv4(address) => vec![(*address).into()],
        Host::Ipv6(address) => vec![(*address).into()],
        Host::Domain(name) if is_localhost(name) => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        Host::Domain(name) => lookup(name).await?,
    };
    let (mut addresses, mut denials, mut first) = (Vec::new(), Vec::new(), None);
    for address in found {
        let granted = match policy.check_address(&request.host, address, request.port) {
            Ok(()) => policy.ask(wanted(request, Some(address))).await,
            Err(denial) => Err(denial),
        };
        match granted {
            Ok(()) => addresses.push(SocketAddr::new(address, request.port)),
            Err(denial) => {
                let host_is_granted = denial.is_by_embedder() || policy.grants_host(&request.host, request.port);
                first = first.or(host_is_granted.then_some(address));
                denials.push(denial);
            }
        }
    }
    denials.truncate(MAX_DENIALS);
    if addresses.is_empty() && !denials.is_empty() {
        return Err(denied(first, &denials));
    }
    Ok(Resolved { addresses: interleave(addresses), denials })
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, ConnectError> {
    match lookup_host((name, 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(ConnectError::dns(name, Some(error))),
    }
}

/// Alternates address families, beginning with the one that the resolver put first (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut order: Vec<_> = preferred.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    order.extend(other);
    order
}

/// Connects to the first address that answers; each gets a head start over the next.
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(async move { (address, connect(address).await) });
        }
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some((_, Ok(stream))) => return Ok(stream),
                Some((address, Err(error))) => errors.push((address, error)),
                None => return Err(errors),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Small messages must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A tunnel that did not open.
struct NoTunnel {
    failure: ConnectError,
    /// The proxy would answer the same for every other destination: the answer is about the client, or about the proxy.
    is_final: bool,
}

/// Statuses that depend on the client, the method or the version of the request, and not on the destination.
const FINAL_STATUSES: [StatusCode; 9] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::PROXY_AUTHENTICATION_REQUIRED,
    StatusCode::UPGRADE_REQUIRED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    StatusCode::NETWORK_AUTHENTICATION_REQUIRED,
];

/// An answer to HTTP CONNECT.
impl From<ConnectError> for NoTunnel {
    fn from(failure: ConnectError) -> Self {
        let is_final = match failure.reason() {
            Reason::Refused { status, .. } => FINAL_STATUSES.contains(status),
            Reason::Protocol => true,
            _ => false,
        };
        NoTunnel { failure, is_final }
    }
}

/// Opens a tunnel through a proxy to the first destination that it reaches. Where names are resolved here, it is asked
/// for checked addresses, never for a name that it could resolve to another.
async fn through(
    proxy: &Proxy,
    destinations: &[TunnelEnd],
    settings: &Settings,
    limit: Duration,
    progress: &Progress,
) -> Result<TcpStream, ConnectError> {
    let (name, port) = proxy.address();
    let at = lookup(name).await.map_err(ConnectError::at_the_proxy)?;
    let at = interleave(at.into_iter().map(|address| SocketAddr::new(address, port)).collect());
    let mut last = ConnectError::dns("the destination", None);
    for destination in destinations {
        progress.reach(Step::Tcp);
        let unreachable = |errors| ConnectError::tcp(&format!("the proxy {name}:{port}"), errors).at_the_proxy();
        let mut tcp = race(at.clone()).await.map_err(unreachable)?;
        progress.reach(Step::Proxy);
        let tunnel = match proxy.is_socks() {
            true => socks(&mut tcp, proxy, destination).await,
            false => connect_method(&mut tcp, proxy, destination, settings.user_agent.as_ref(), limit).await,
        };
        match tunnel {
            Ok(()) => return Ok(tcp),
            Err(NoTunnel { failure, is_final: true }) => return Err(failure.at_the_proxy()),
            Err(NoTunnel { failure, is_final: false }) => last = failure.at_the_proxy(),
        }
    }
    Err(last)
}

/// HTTP CONNECT (RFC 9110 section 9.3.6).
async fn connect_method(
    tcp: &mut TcpStream,
    proxy: &Proxy,
    destination: &TunnelEnd,
    user_agent: Option<&HeaderValue>,
    limit: Duration,
) -> Result<(), NoTunnel> {
    let mut ask = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n").into_bytes();
    let credentials = basic_authorization(proxy.url());
    for (name, value) in [("User-Agent", user_agent), ("Proxy-Authorization", credentials.as_ref())] {
        if let Some(value) = value {
            ask.extend_from_slice(format!("{name}: ").as_bytes());
            ask.extend_from_slice(value.as_bytes());
            ask.extend_from_slice(b"\r\n");
        }
    }
    ask.extend_from_slice(b"\r\n");
    tcp.write_all(&ask).await.map_err(|error| ConnectError::transport("the proxy cannot be asked", error))?;
    let mut input = BytesMut::new();
    let head = read_head(tcp, &mut input).await?;
    if !head.status.is_success() {
        return Err(refusal(head, "the proxy", "redirects of a proxy are not followed", tcp, input, limit)
            .await
            .into());
    }
    if !input.is_empty() {
        let error = Error::Protocol("the proxy sent bytes ahead of the tunnel".to_owned());
        return Err(ConnectError::protocol(error).into());
    }
    Ok(())
}

/// SOCKS5 (RFC 1928), with the user and password of RFC 1929 where the proxy asks for them.
async fn socks(tcp: &mut TcpStream, proxy: &Proxy, destination: &TunnelEnd) -> Result<(), NoTunnel> {
    let opened = match proxy.socks_credentials() {
        // The setting takes no others.
        None | Some(Err(_)) => Socks5Stream::connect_with_socket(tcp, destination.clone()).await,
        Some(Ok((user, password))) => {
            Socks5Stream::connect_with_password_and_socket(tcp, destination.clone(), &user, &password).await
        }
    };
    opened
        .map(drop)
        .map_err(|error| NoTunnel { is_final: is_final_for_socks(&error), failure: socks_failure(error, destination) })
}

/// Whether an answer is about the credentials or the proxy, and not about the destination.
fn is_final_for_socks(error: &tokio_socks::Error) -> bool {
    use tokio_socks::Error as Socks;
    matches!(
        error,
        Socks::AuthorizationRequired
            | Socks::NoAcceptableAuthMethods
            | Socks::PasswordAuthFailure(_)
            | Socks::UnknownAuthMethod
            | Socks::CommandNotSupported
            | Socks::InvalidResponseVersion
    )
}

fn socks_failure(error: tokio_socks::Error, destination: &TunnelEnd) -> ConnectError {
    use io::ErrorKind;
    use tokio_socks::Error as Socks;
    let refused = |error| ConnectError::new(Reason::RefusedByProxy, error);
    let unreachable = |kind, why: &str| {
        let why = format!("the SOCKS5 proxy cannot reach {destination}: {why}");
        ConnectError::new(Reason::Tcp(kind), Error::ConnectionFailed(why))
    };
    match error {
        Socks::AuthorizationRequired | Socks::NoAcceptableAuthMethods => refused(Error::AuthenticationFailed(
            "the SOCKS5 proxy wants other credentials; set user:password@ in the setting `proxy`".to_owned(),
        )),
        Socks::PasswordAuthFailure(_) => refused(Error::AuthenticationFailed(
            "the SOCKS5 proxy refuses the user or the password of the setting `proxy`".to_owned(),
        )),
        Socks::ConnectionNotAllowedByRuleset => refused(Error::ConnectionFailed(format!(
            "the rules of the SOCKS5 proxy do not allow {destination}; ask its operator"
        ))),
        Socks::GeneralSocksServerFailure => unreachable(ErrorKind::Other, "general failure"),
        Socks::NetworkUnreachable => unreachable(ErrorKind::NetworkUnreachable, "network unreachable"),
        Socks::HostUnreachable => unreachable(ErrorKind::HostUnreachable, "host unreachable"),
        Socks::ConnectionRefused => unreachable(ErrorKind::ConnectionRefused, "connection refused"),
        Socks::TtlExpired => unreachable(ErrorKind::TimedOut, "TTL expired"),
        Socks::CommandNotSupported => unreachable(ErrorKind::Unsupported, "it does not support CONNECT"),
        Socks::AddressTypeNotSupported => {
            unreachable(ErrorKind::Unsupported, "it does not support this type of address")
        }
        Socks::Io(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            let why = "the SOCKS5 proxy closed the connection; see that the setting `proxy` names a SOCKS5 proxy";
            let error = Error::ConnectionFailed(why.to_owned());
            ConnectError::new(Reason::Transport(cause.kind()), error).caused_by(cause)
        }
        Socks::Io(cause) => ConnectError::transport("the SOCKS5 proxy cannot be asked", cause),
        other => {
            let why = "the proxy's answer is not SOCKS5 (RFC 1928); see that the setting `proxy` names a SOCKS5 proxy";
            ConnectError::protocol(Error::Protocol(why.to_owned())).caused_by(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_from_the_first() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleave(mixed), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]));
        assert_eq!(interleave(addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1"])).len(), 3);
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let stream = race(vec![closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let errors = race(vec![closed]).await.unwrap_err();
        let failure = ConnectError::tcp("there", errors);
        assert_eq!(*failure.reason(), Reason::Tcp(io::ErrorKind::ConnectionRefused));
        let text = failure.to_string();
        assert!(text.contains("there") && text.contains(&closed.to_string()), "{text}");
    }
}
