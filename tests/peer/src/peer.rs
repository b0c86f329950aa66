//! A server that does only what the test tells it to.

use crate::soon;
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// One client's connection, from its request on.
#[derive(Debug)]
pub struct Peer<S = TcpStream> {
    /// The transport.
    pub tcp: S,
    /// The head of the opening handshake's request, as it came.
    pub request: String,
    input: BytesMut,
}

impl Peer {
    /// Takes the next TCP connection and reads a request from it.
    pub async fn accept(listener: &TcpListener) -> Peer {
        let (tcp, _) = soon(listener.accept()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Peer::over(tcp).await
    }

    /// Ends TCP with a reset instead of in order.
    pub fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads a request from a transport.
    pub async fn over(mut tcp: S) -> Peer<S> {
        let request = read_head(&mut tcp).await;
        Peer { tcp, request, input: BytesMut::new() }
    }

    /// Answers the request with 101, the right `Sec-WebSocket-Accept` and these lines.
    pub async fn upgrade(&mut self, lines: &str) {
        let head = self.upgrade_head(lines);
        self.write(head).await;
    }

    /// What [`Peer::upgrade`] sends.
    pub fn upgrade_head(&self, lines: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n{lines}\r\n",
            self.accept_key()
        )
    }

    /// The `Sec-WebSocket-Accept` that the request calls for.
    pub fn accept_key(&self) -> String {
        derive_accept_key(self.field("Sec-WebSocket-Key").as_bytes())
    }

    /// The value of a field of the request; empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        self.request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    /// Sends these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.tcp.write_all(bytes.as_ref())).await.unwrap();
        soon(self.tcp.flush()).await.unwrap();
    }

    /// The next frame: its first byte, and its payload unmasked.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
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
    pub async fn end(&mut self) {
        let read = soon(self.tcp.read_buf(&mut self.input)).await;
        assert!(self.input.is_empty() && matches!(read, Ok(0) | Err(_)), "{:?}", self.input);
    }
}

/// Asserts that no TCP connection arrived; call it after the dialling side has its result.
pub async fn nobody_dialled(listener: &TcpListener) {
    let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, first) = soon(listener.accept()).await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

/// The head of a request, up to and with its empty line.
pub async fn read_head(tcp: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(tcp.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}
