//! What a WebSocket runs over once its handshake is done.

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::any::Any;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{client, server};

/// A byte stream: TCP, or TLS over it, or what an HTTP server hands over after an upgrade.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What hyper hands over, without hyper's own layers where it is TCP or TLS over it, and what the client sent
/// behind its request.
pub(crate) fn unwrap(upgraded: Upgraded) -> (Box<dyn Transport>, BytesMut) {
    match layer::<TcpStream>(upgraded).or_else(layer::<server::TlsStream<TcpStream>>) {
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

/// Has a socket end with a reset once it is dropped, so that the kernel does not go on for minutes to offer what
/// nobody reads.
pub(crate) fn reset_when_dropped(transport: &dyn Transport) {
    let transport = transport.as_any();
    let dialled = transport.downcast_ref::<client::TlsStream<TcpStream>>().map(|tls| tls.get_ref().0);
    let accepted = transport.downcast_ref::<server::TlsStream<TcpStream>>().map(|tls| tls.get_ref().0);
    if let Some(tcp) = transport.downcast_ref::<TcpStream>().or(dialled).or(accepted) {
        // It fails only for a socket that has ended already.
        let _ = tcp.set_zero_linger();
    }
}
