//! tokio-tungstenite: with a flush for each message, as `send` does it, and with one for many.

use super::{Stream, dial, native_link};
use anyhow::{Context, Result, bail};
use bench_exchange::{Link, Target};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

pub(super) struct EachMessage(Socket);
pub(super) struct Bursts(Socket);

struct Socket {
    socket: WebSocketStream<Stream>,
    payload: Bytes,
}

impl Socket {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let (socket, _) = client_async(&target.url, dial(target).await?).await?;
        Ok(Socket { socket, payload: vec![7; size].into() })
    }

    fn message(&self) -> Message {
        Message::Binary(self.payload.clone())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            match self.socket.next().await.context("the peer has gone")?? {
                Message::Binary(data) => return Ok(data.len()),
                Message::Close(_) => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        self.socket.close(None).await?;
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}

impl Link for EachMessage {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        Socket::connect(target, size).await.map(EachMessage)
    }

    async fn send(&mut self) -> Result<()> {
        let message = self.0.message();
        Ok(self.0.socket.send(message).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        self.0.receive().await
    }

    async fn close(self) -> Result<()> {
        self.0.close().await
    }
}

impl Link for Bursts {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        Socket::connect(target, size).await.map(Bursts)
    }

    async fn send(&mut self) -> Result<()> {
        let message = self.0.message();
        Ok(self.0.socket.feed(message).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.socket.flush().await?)
    }

    async fn receive(&mut self) -> Result<usize> {
        self.0.receive().await
    }

    async fn close(self) -> Result<()> {
        self.0.close().await
    }
}

native_link!(EachMessage);
native_link!(Bursts);
