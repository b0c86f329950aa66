//! What a WebSocket runs over once its handshake is done.

use std::any::Any;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A byte stream: TCP, or TLS over it, or what an HTTP server hands over after an upgrade.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Has a socket that was dialled end with a reset once it is dropped, so that the kernel does not go on for
/// minutes to offer what nobody reads.
pub(crate) fn reset_when_dropped(transport: &dyn Transport) {
    let transport = transport.as_any();
    let tls = transport.downcast_ref::<TlsStream<TcpStream>>();
    if let Some(tcp) = transport.downcast_ref::<TcpStream>().or(tls.map(|tls| tls.get_ref().0)) {
        // It fails only for a socket that has ended already.
        let _ = tcp.set_zero_linger();
    }
}
