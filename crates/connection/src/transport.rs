//! What a WebSocket runs over once its handshake is done.

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream: TCP, or TLS over it, or what an HTTP server hands over after an upgrade.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}
