//! TLS sessions as transports.

use crate::TcpConnection;
use std::{
    any::Any,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

/// TLS towards a server, over a [`TcpConnection`].
#[derive(Debug)]
pub struct TlsConnection(client::TlsStream<TcpConnection>);

impl TlsConnection {
    pub(crate) fn new(tls: client::TlsStream<TcpConnection>) -> Self {
        TlsConnection(tls)
    }

    /// The TCP connection that carries the session. Bytes that are read from it or written to it are TLS records.
    pub fn tcp(&self) -> &TcpConnection {
        self.0.get_ref().0
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The socket that carries a TLS session of either role; `None` for another transport.
pub(crate) fn tcp(transport: &dyn Any) -> Option<&TcpStream> {
    let dialled = transport.downcast_ref::<client::TlsStream<TcpStream>>().map(|tls| tls.get_ref().0);
    let accepted = transport.downcast_ref::<server::TlsStream<TcpStream>>().map(|tls| tls.get_ref().0);
    let own = transport.downcast_ref::<TlsConnection>().map(|tls| tls.tcp().as_ref());
    dialled.or(accepted).or(own)
}
