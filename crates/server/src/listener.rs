//! A socket that listens: how many clients it accepts, and how it stops.

use crate::{
    asked_to_stop,
    http1::{Service, serve_client},
};
use rustls::ServerConfig;
use std::{fmt, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

/// How long clients may take to finish when the server stops.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// The maximum number of concurrent clients, not counting WebSockets.
const MAX_CLIENTS: usize = 4096;

/// Why a server ended before it was asked to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The operating system accepts no connection while no client is there whose end could help.
    #[error("cannot accept connections: {0}")]
    Accept(#[source] io::Error),
}

/// A TCP socket that listens, with TLS or without. It must be used in a tokio runtime with I/O and time.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("tcp", &self.tcp).field("tls", &self.tls.is_some()).finish()
    }
}

impl Listener {
    /// Listens on an address such as `127.0.0.1:8080`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the operating system: the name has no address, the port is taken, or the address is another machine's.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Listener { tcp: TcpListener::bind(address).await?, tls: None })
    }

    /// The address that it listens on, with the port that was free.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Has [`Listener::serve`] speak TLS, with HTTP/1.1 in ALPN. [`tls`](crate::tls) makes configurations.
    pub fn with_tls(self, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Listener { tls: Some(TlsAcceptor::from(Arc::new(config))), ..self }
    }

    /// Serves HTTP until `stop` turns true, or its sender is gone. Then nothing is accepted any more, requests that have
    /// begun are answered, and it returns once all clients are gone, at the latest after 10 s. An upgraded
    /// WebSocket does not count as a client: the service closes it. Dropping the future drops every client at once.
    ///
    /// # Errors
    /// [`ServeError::Accept`].
    pub async fn serve(&self, service: impl Service, stop: watch::Receiver<bool>) -> Result<(), ServeError> {
        let closing = stop.clone();
        let client = |tcp| serve_client(tcp, self.tls.clone(), service.clone(), closing.clone());
        self.serve_tcp(MAX_CLIENTS, client, stop).await
    }

    /// Has `client` serve each TCP connection, without TLS, at most `most` at a time, until `stop` turns true, or its sender
    /// is gone. Then it waits for the clients that are there, and drops those that are still there after 10 s.
    ///
    /// # Errors
    /// [`ServeError::Accept`].
    pub async fn serve_tcp<F: Future<Output = ()> + Send + 'static>(
        &self,
        most: usize,
        client: impl Fn(TcpStream) -> F,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let mut clients = JoinSet::new();
        let mut stopped = pin!(asked_to_stop(&mut stop));
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if clients.len() < most => match accepted {
                    Ok((tcp, peer)) => {
                        clients.spawn(client(tcp).instrument(tracing::warn_span!("client", %peer)));
                    }
                    Err(error) => {
                        // Out of descriptors, most likely, until a client goes.
                        tracing::warn!(%error, "cannot accept a connection");
                        if clients.is_empty() {
                            return Err(ServeError::Accept(error));
                        }
                        tokio::select! {
                            _ = clients.join_next() => {}
                            () = &mut stopped => break,
                        }
                    }
                },
                Some(_) = clients.join_next() => {}
                () = &mut stopped => break,
            }
        }
        let ended = async { while clients.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, ended).await.is_err() {
            tracing::info!(clients = clients.len(), "clients did not come to their end in time");
        }
        Ok(())
    }
}
