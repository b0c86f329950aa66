//! The peer of every contender, in a process of its own: WebSockets by tokio-tungstenite with one flush for all that
//! has arrived, and TCP without WebSockets. What to do is in the path, or in the port.

use anyhow::{Context, Result};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::{future::Future, path::PathBuf, sync::Arc};
use test_peer::Authority;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        self, Message,
        handshake::server::{Request, Response},
        protocol::WebSocketConfig,
    },
};

/// After every this many bytes, the peer of raw TCP sends one back.
pub(crate) const RECEIPT: u64 = 1 << 20;

/// Where the server listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) ws: String,
    pub(crate) wss: String,
    pub(crate) authority: PathBuf,
    pub(crate) tcp_echo: String,
    pub(crate) tcp_sink: String,
    pub(crate) tcp_source: String,
}

/// Serves until the process is killed; prints the address in its first line.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let authority = Authority::new("bench");
        let acceptor = Arc::new(authority.acceptor(authority.issue(&["127.0.0.1"], |_| {}), false));
        let addresses = Addresses {
            ws: format!("ws://127.0.0.1:{}", listen(websocket).await?),
            wss: format!(
                "wss://127.0.0.1:{}",
                listen(move |tcp| {
                    let acceptor = Arc::clone(&acceptor);
                    async move { websocket(acceptor.accept(tcp).await?).await }
                })
                .await?
            ),
            authority: authority.file("ca.pem").into(),
            tcp_echo: format!("tcp://127.0.0.1:{}", listen(echo).await?),
            tcp_sink: format!("tcp://127.0.0.1:{}", listen(sink).await?),
            tcp_source: format!("tcp://127.0.0.1:{}", listen(source).await?),
        };
        println!("{}", serde_json::to_string(&addresses)?);
        std::future::pending::<()>().await;
        drop(authority);
        Ok(())
    })
}

/// Serves each connection in a task; returns the port.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Result<u16>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let _ = tcp.set_nodelay(true);
                    // The contender reports how a connection ends.
                    tokio::spawn(serve(tcp));
                }
                Err(error) => eprintln!("the server cannot accept: {error}"),
            }
        }
    });
    Ok(port)
}

async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<()> {
    let mut path = String::new();
    // tungstenite zeroes its buffer for each read, and 128 KiB of it without this.
    let config = WebSocketConfig::default().read_buffer_size(32 * 1024);
    // The size of the error is the library's choice.
    #[allow(clippy::result_large_err)]
    let read_path = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut socket = accept_hdr_async_with_config(stream, read_path, Some(config)).await?;
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts[..] {
        ["sink", count] => {
            let count: u64 = count.parse()?;
            let mut received = 0;
            while let Some(message) = socket.next().await {
                let message = message?;
                received += 1;
                if received == count && message.is_binary() {
                    socket.send(Message::binary("")).await?;
                }
            }
        }
        ["source", size, count] => {
            let message = Message::binary(vec![7; size.parse()?]);
            socket.next().await.context("the client has gone")??;
            for _ in 0..count.parse::<u64>()? {
                socket.feed(message.clone()).await?;
            }
            socket.flush().await?;
            while let Some(message) = socket.next().await {
                message?;
            }
        }
        _ => answer_all(&mut socket).await?,
    }
    Ok(())
}

async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> tungstenite::Result<()> {
    while let Some(message) = socket.next().await {
        let mut message = message?;
        loop {
            if message.is_binary() {
                socket.feed(message).await?;
            }
            message = match socket.next().now_or_never() {
                Some(Some(next)) => next?,
                Some(None) | None => break,
            };
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn echo(mut tcp: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match tcp.read(&mut buffer).await? {
            0 => return Ok(()),
            read => tcp.write_all(&buffer[..read]).await?,
        }
    }
}

async fn sink(mut tcp: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut received = 0;
    loop {
        let read = tcp.read(&mut buffer).await? as u64;
        if read == 0 {
            return Ok(());
        }
        let receipts = (received + read) / RECEIPT - received / RECEIPT;
        received += read;
        for _ in 0..receipts {
            tcp.write_u8(0).await?;
        }
    }
}

async fn source(mut tcp: TcpStream) -> Result<()> {
    tcp.read_u8().await?;
    let buffer = vec![7; 64 * 1024];
    loop {
        tcp.write_all(&buffer).await?;
    }
}
