//! A WebSocket server made with tokio-tungstenite, over TCP or TLS.

use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::HeaderValue,
        protocol::CloseFrame,
    },
};

/// How the server reacts to messages.
#[derive(Clone)]
pub enum Behaviour {
    /// Sends text and binary back.
    Echo,
    /// Answers the first message with this one.
    Answer(Message),
    /// Reads and sends nothing.
    Silent,
    /// Drops the connection, without a close frame, after the first message.
    Drop,
}

/// What a server saw of one connection.
#[derive(Debug)]
pub enum Seen {
    /// The opening handshake: the request's header fields by name, in lower case.
    Opened(Vec<(String, String)>),
    /// A message other than a close frame.
    Message(Message),
    /// A close frame.
    Closed(Option<CloseFrame>),
}

/// A running server; dropping it stops it.
pub struct Server {
    /// Where it listens, as `ws://` or `wss://` URL.
    pub url: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves plain WebSockets on a free port of loopback.
    pub async fn start(behaviour: Behaviour) -> Server {
        Server::listen(behaviour, None).await
    }

    /// Serves secure WebSockets.
    pub async fn start_tls(behaviour: Behaviour, tls: TlsAcceptor) -> Server {
        Server::listen(behaviour, Some(tls)).await
    }

    async fn listen(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let (sender, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(accept(tcp, tls.clone(), behaviour.clone(), sender.clone()));
            }
        });
        Server { url: format!("{scheme}://localhost:{port}/"), seen, task }
    }

    /// The next thing that it sees.
    pub async fn seen(&mut self) -> Seen {
        crate::soon(self.seen.recv()).await.expect("the server runs")
    }

    /// The code of the next close frame, whatever comes before it.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Seen::Closed(frame) = self.seen().await {
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    /// Asserts that this many of the next connections to close do so with 1001.
    pub async fn sees_1001(&mut self, connections: usize) {
        for _ in 0..connections {
            assert_eq!(self.close_code().await, Some(1001));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(tcp: TcpStream, tls: Option<TlsAcceptor>, behaviour: Behaviour, seen: mpsc::UnboundedSender<Seen>) {
    match tls {
        None => serve(tcp, behaviour, seen).await,
        // A client that does not trust the certificate goes away here.
        Some(tls) => {
            if let Ok(stream) = tls.accept(tcp).await {
                serve(stream, behaviour, seen).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, behaviour: Behaviour, seen: mpsc::UnboundedSender<Seen>) {
    let opened = seen.clone();
    #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let handshake = move |request: &Request, mut response: Response| {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        let _ = opened.send(Seen::Opened(fields.collect()));
        if let Some(offered) = request.headers().get("sec-websocket-protocol") {
            let first = text(offered).split(',').next().unwrap_or_default().trim().to_owned();
            response.headers_mut().insert("sec-websocket-protocol", first.parse().expect("a token is a value"));
        }
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, handshake).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let event = match &message {
            Message::Close(frame) => Seen::Closed(frame.clone()),
            other => Seen::Message(other.clone()),
        };
        let _ = seen.send(event);
        let sent = match (&behaviour, message) {
            (_, Message::Close(_) | Message::Ping(_) | Message::Pong(_)) | (Behaviour::Silent, _) => Ok(()),
            (Behaviour::Echo, message) => socket.send(message).await,
            (Behaviour::Answer(answer), _) => socket.send(answer.clone()).await,
            (Behaviour::Drop, _) => return,
        };
        if sent.is_err() {
            return;
        }
    }
}
