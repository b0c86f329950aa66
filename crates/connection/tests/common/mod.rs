//! What the tests share: endpoints that may dial this machine, and a peer whose every byte the test
//! decides.

// Each file of tests is a program of its own and uses a part of this.
#![allow(dead_code)]

use bytes::{Buf, BytesMut};
use futures_util::{SinkExt, StreamExt};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{accept_async_with_config, tungstenite};
use websocket_connection::{ConnectConfig, Connection, ConnectionState, Endpoint, Error, Message, Settings};

/// The first byte of whole frames.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// Waits for what must happen, and fails instead of hanging when it does not.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    timeout(Duration::from_secs(20), what).await.expect("this must not take so long")
}

/// Polls a call once, and says whether it waits now.
pub(crate) async fn waits<F: Future>(call: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await
}

/// Waits for a state that nothing else announces.
pub(crate) async fn reaches(connection: &Connection, state: ConnectionState) {
    soon(async {
        while connection.state() != state {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Settings that grant this machine, with changes by name.
pub(crate) fn settings(changes: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in [("allow", "localhost")].iter().chain(changes) {
        settings.set(name, value).unwrap();
    }
    settings
}

pub(crate) fn endpoint(changes: &[(&str, &str)]) -> Endpoint {
    Endpoint::new(settings(changes)).unwrap()
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

pub(crate) fn to(url: impl Into<String>) -> ConnectConfig {
    ConnectConfig { url: url.into(), ..ConnectConfig::default() }
}

/// A connection and its peer, with the host's defaults.
pub(crate) async fn open(endpoint: &Endpoint) -> (Connection, Peer) {
    open_as(endpoint, ConnectConfig::default()).await
}

/// A connection with these wishes, to a peer that takes the place of their URL.
pub(crate) async fn open_as(endpoint: &Endpoint, wishes: ConnectConfig) -> (Connection, Peer) {
    let (listener, url) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    };
    let (connection, peer) =
        soon(async { tokio::join!(endpoint.connect(ConnectConfig { url, ..wishes }), peer) }).await;
    (connection.unwrap(), peer)
}

/// Why this URL cannot be dialled.
pub(crate) async fn error_of(endpoint: &Endpoint, url: &str) -> Error {
    soon(endpoint.connect(to(url))).await.err().expect("this must not connect")
}

/// Opens a connection and sends a message there and back.
pub(crate) async fn works(endpoint: &Endpoint, url: &str) {
    let connection = soon(endpoint.connect(to(url))).await.unwrap();
    let message = Message::Text("there and back".into());
    soon(connection.send(message.clone())).await.unwrap();
    assert_eq!(next(&connection).await, Ok(message));
}

/// What `receive` gives next, however often it has nothing yet.
pub(crate) async fn next(connection: &Connection) -> Result<Message, Error> {
    soon(async {
        loop {
            if let Some(message) = connection.receive().await.transpose() {
                return message;
            }
        }
    })
    .await
}

pub(crate) async fn next_is_closed(connection: &Connection) {
    for _ in 0..2 {
        assert_eq!(next(connection).await, Err(Error::ConnectionClosed));
    }
}

/// A frame as a server sends it.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(length as u8),
        length @ ..=65535 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The payload of a close frame.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A server that does only what the test tells it to.
pub(crate) struct Peer {
    pub(crate) tcp: TcpStream,
    /// The head of the opening handshake's request, as it came.
    pub(crate) request: String,
    input: BytesMut,
}

impl Peer {
    /// Takes the next TCP connection and reads a request from it.
    pub(crate) async fn accept(listener: &TcpListener) -> Peer {
        let (mut tcp, _) = soon(listener.accept()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let request = read_head(&mut tcp).await;
        Peer { tcp, request, input: BytesMut::new() }
    }

    /// Answers the request with 101, the right `Sec-WebSocket-Accept` and these lines.
    pub(crate) async fn upgrade(&mut self, lines: &str) {
        let head = self.upgrade_head(lines);
        self.write(head).await;
    }

    pub(crate) fn upgrade_head(&self, lines: &str) -> String {
        let key = self.field("Sec-WebSocket-Key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        )
    }

    /// The value of a field of the request; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.tcp.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The next frame: its first byte, and its payload unmasked.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        self.fill(2).await;
        let (first, length) = (self.input[0], self.input[1]);
        assert!(length & 0x80 != 0, "clients mask every frame");
        self.input.advance(2);
        let length = match length & 0x7F {
            126 => {
                self.fill(2).await;
                u64::from(self.input.get_u16())
            }
            127 => {
                self.fill(8).await;
                self.input.get_u64()
            }
            length => u64::from(length),
        } as usize;
        self.fill(4 + length).await;
        let mask: [u8; 4] = self.input.split_to(4)[..].try_into().unwrap();
        let mut payload = self.input.split_to(length).to_vec();
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        (first, payload)
    }

    async fn fill(&mut self, length: usize) {
        while self.input.len() < length {
            let read = soon(self.tcp.read_buf(&mut self.input)).await.unwrap();
            assert!(read > 0, "the connection ended before {length} bytes came: {:?}", self.input);
        }
    }

    /// Waits until the client has ended TCP, and fails when it sends anything before.
    pub(crate) async fn end(&mut self) {
        let read = soon(self.tcp.read_buf(&mut self.input)).await;
        assert!(self.input.is_empty() && matches!(read, Ok(0) | Err(_)), "{:?}", self.input);
    }

    /// Ends TCP with a reset instead of in order.
    pub(crate) fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }
}

pub(crate) async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(tcp.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The URL of a server that sends back every text and binary message it gets.
pub(crate) async fn echo_server() -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut socket = accept_async_with_config(tcp, None).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}
