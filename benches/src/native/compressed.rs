//! Clients that exchange compressed text (RFC 7692), without context takeover: with `websocket-connection`, and with sockudo-ws.

use super::{Stream, dial, native_link};
use crate::endpoints::{endpoint, json};
use anyhow::{Context, Result, bail, ensure};
use bench_exchange::{Link, Target};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sockudo_ws::{CompressedWebSocketStream, Config, DeflateConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use websocket_connection::{ConnectConfig, Connection, Message};

/// The client of this project's core.
pub(super) struct Core {
    connection: Connection,
    text: String,
}

impl Link for Core {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let connection = endpoint("compress=true")?.connect(ConnectConfig::new(&target.url)).await?;
        Ok(Core { connection, text: json(size) })
    }

    async fn send(&mut self) -> Result<()> {
        Ok(self.connection.send(self.text.as_str()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            match self.connection.receive().await? {
                Some(Message::Text(text)) => return Ok(text.len()),
                Some(Message::Close(_)) => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

/// sockudo-ws. Its client offers no compression by itself, so the handshake is here.
pub(super) struct Sockudo {
    socket: CompressedWebSocketStream<Stream>,
    text: Bytes,
}

const PARAMETERS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

impl Link for Sockudo {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let mut stream = dial(target).await?;
        let (_, rest) = target.url.split_once("://").context("a URL has a scheme")?;
        let (host, path) = rest.split_once('/').context("the URL has a path")?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {PARAMETERS}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.push(stream.read_u8().await?);
        }
        ensure!(String::from_utf8_lossy(&response).contains(PARAMETERS), "the server does not compress");
        let deflate = DeflateConfig {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            ..DeflateConfig::default()
        };
        let socket = CompressedWebSocketStream::client(stream, Config::default(), deflate);
        Ok(Sockudo { socket, text: json(size).into() })
    }

    async fn send(&mut self) -> Result<()> {
        Ok(self.socket.send(sockudo_ws::Message::Text(self.text.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            match self.socket.next().await.context("the peer has gone")?? {
                sockudo_ws::Message::Text(text) => return Ok(text.len()),
                sockudo_ws::Message::Close(_) => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        Ok(self.socket.close(1000, "").await?)
    }
}

native_link!(Core);
native_link!(Sockudo);
