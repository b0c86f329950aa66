//! What a WebSocket runs over once its handshake is done.

use std::{
    any::Any,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

/// A byte stream: TCP, or TLS over it, or what an HTTP server hands over after an upgrade.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Held as long as a connection has a transport: one of the host's total, then one of its guest. They go in this
/// order, so that the host has room again when [`Endpoint::closed`] gets the guest's.
pub(crate) type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A TCP connection. It holds one of its endpoint's connection slots until it is dropped.
pub struct TcpConnection {
    tcp: TcpStream,
    _permits: Permits,
}

impl TcpConnection {
    pub(crate) fn new(tcp: TcpStream, permits: Permits) -> Self {
        TcpConnection { tcp, _permits: permits }
    }

    /// Where it leads: to what was dialled, or to the proxy.
    ///
    /// # Errors
    /// Those of the operating system, when it has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }
}

impl fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnection").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl AsRef<TcpStream> for TcpConnection {
    fn as_ref(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Has a socket end with a reset once it is dropped, so that the kernel does not go on for minutes to offer what
/// nobody reads.
pub(crate) fn reset_when_dropped(transport: &dyn Transport) {
    if let Some(tcp) = tcp(transport) {
        // It fails only for a socket that has ended already.
        let _ = tcp.set_zero_linger();
    }
}

/// Why the kernel has ended a socket, which it says once: by this, or by the next read or write.
pub(crate) fn take_error(transport: &dyn Transport) -> Option<io::Error> {
    tcp(transport)?.take_error().ok()?
}

/// Where TCP leads, if it is TCP and has not ended.
pub(crate) fn peer_addr(transport: &dyn Transport) -> Option<SocketAddr> {
    tcp(transport)?.peer_addr().ok()
}

fn tcp(transport: &dyn Transport) -> Option<&TcpStream> {
    let transport = transport.as_any();
    let own = transport.downcast_ref::<TcpConnection>().map(AsRef::as_ref);
    let tcp = transport.downcast_ref::<TcpStream>().or(own);
    #[cfg(feature = "tls")]
    let tcp = tcp.or_else(|| crate::open::tls::connection::tcp(transport));
    tcp
}
