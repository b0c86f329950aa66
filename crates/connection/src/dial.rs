//! From a checked request to an open byte stream: policy, DNS, TCP, and the proxy where there is one.

use crate::{
    ConnectError, Error, Reason, Step,
    failure::Progress,
    head::Head,
    policy::{Policy, is_localhost},
    request::{Request, basic_authorization},
    settings::Settings,
};
use bytes::BytesMut;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::HeaderValue;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host},
    time::sleep,
};
use url::{Host, Url};

/// How long one address has before the next is tried beside it (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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
    let addresses = resolve(request, policy).await?;
    match &settings.proxy {
        None => {
            progress.reach(Step::Tcp);
            race(addresses).await.map_err(|errors| ConnectError::tcp(&request.authority(), errors))
        }
        Some(proxy) => through(proxy.url(), &addresses, settings.user_agent.as_ref(), request.timeout, progress).await,
    }
}

/// The granted addresses of the request's host. What is checked here is what is dialled: nothing
/// looks the name up again.
async fn resolve(request: &Request, policy: &Policy) -> Result<Vec<SocketAddr>, ConnectError> {
    let denied = |address, error| ConnectError::new(Reason::Denied { address }, error);
    policy.check_host(&request.host, request.port).map_err(|error| denied(None, error))?;
    let found: Vec<IpAddr> = match &request.host {
        Host::Ipv4(address) => vec![(*address).into()],
        Host::Ipv6(address) => vec![(*address).into()],
        Host::Domain(name) if is_localhost(name) => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        Host::Domain(name) => lookup(name).await?,
    };
    let mut refusal = None;
    let mut granted = Vec::new();
    for address in found {
        match policy.check_address(&request.host, address, request.port) {
            Ok(()) => granted.push(SocketAddr::new(address, request.port)),
            Err(error) => refusal = refusal.or(Some((address, error))),
        }
    }
    match refusal {
        Some((address, error)) if granted.is_empty() => {
            Err(denied(policy.grants_host(&request.host, request.port).then_some(address), error))
        }
        _ => Ok(interleave(granted)),
    }
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

/// Opens a tunnel through an HTTP CONNECT proxy (RFC 9110 section 9.3.6). The proxy is asked for a
/// checked address, never for a name that it could resolve to another.
async fn through(
    proxy: &Url,
    addresses: &[SocketAddr],
    user_agent: Option<&HeaderValue>,
    limit: Duration,
    progress: &Progress,
) -> Result<TcpStream, ConnectError> {
    let name = proxy.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = proxy.port_or_known_default().unwrap_or(80);
    let at = lookup(name).await.map_err(ConnectError::at_the_proxy)?;
    let at = interleave(at.into_iter().map(|address| SocketAddr::new(address, port)).collect());
    let mut last = ConnectError::dns("the destination", None);
    for address in addresses {
        progress.reach(Step::Tcp);
        let unreachable = |errors| ConnectError::tcp(&format!("the proxy {name}:{port}"), errors).at_the_proxy();
        let mut tcp = race(at.clone()).await.map_err(unreachable)?;
        progress.reach(Step::Proxy);
        match connect_method(&mut tcp, proxy, *address, user_agent, limit).await {
            Ok(()) => return Ok(tcp),
            Err(failure) => last = failure.at_the_proxy(),
        }
    }
    Err(last)
}

async fn connect_method(
    tcp: &mut TcpStream,
    proxy: &Url,
    address: SocketAddr,
    user_agent: Option<&HeaderValue>,
    limit: Duration,
) -> Result<(), ConnectError> {
    let mut ask = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
    let credentials = basic_authorization(proxy);
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
    let head = Head::read(tcp, &mut input).await?;
    if !head.status.is_success() {
        return Err(head.refusal("the proxy", tcp, input, limit).await);
    }
    if !input.is_empty() {
        return Err(ConnectError::protocol(Error::Protocol("the proxy sent bytes ahead of the tunnel".to_owned())));
    }
    Ok(())
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
