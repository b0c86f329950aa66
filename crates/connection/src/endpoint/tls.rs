//! TLS towards servers: the feature `tls`.

use super::Endpoint;
use crate::{
    ConnectError, Step, TcpConnection,
    drive::transport::Transport,
    error::connect::Progress,
    open::{request::Request, tls::connection::TlsConnection},
};
use tokio::net::TcpStream;

impl Endpoint {
    /// [`Endpoint::connect_tcp`] with TLS over it: the same certificates as for a WebSocket, and HTTP/1.1 in ALPN.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`] that come before the opening handshake.
    pub async fn connect_tls(&self, authority: &str) -> Result<TlsConnection, ConnectError> {
        let shake_hands = async |request: &Request, tcp: TcpConnection| {
            let address = tcp.peer_addr().ok();
            Ok((address, TlsConnection::new(self.host.tls.connect(&request.host, tcp).await?)))
        };
        self.connect_stream("wss", "tls", authority, shake_hands).await
    }

    /// TLS over `tcp` for a request to `wss://`, and `tcp` itself for another.
    pub(super) async fn secured(
        &self,
        request: &Request,
        tcp: TcpStream,
        progress: &Progress,
    ) -> Result<Box<dyn Transport>, ConnectError> {
        if !request.secure {
            return Ok(Box::new(tcp));
        }
        progress.reach(Step::Tls);
        Ok(Box::new(self.host.tls.connect(&request.host, tcp).await?))
    }
}
