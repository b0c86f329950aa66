//! tokio-websockets.

use super::{Stream, dial, native_link};
use anyhow::{Context, Result, bail};
use bench_exchange::{Link, Target};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

pub(super) struct Socket {
    socket: WebSocketStream<Stream>,
    payload: Bytes,
}

impl Link for Socket {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let builder = ClientBuilder::new().uri(&target.url)?.limits(Limits::unlimited());
        let (socket, _) = builder.connect_on(dial(target).await?).await?;
        Ok(Socket { socket, payload: vec![7; size].into() })
    }

    async fn send(&mut self) -> Result<()> {
        Ok(self.socket.send(Message::binary(self.payload.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            let message = self.socket.next().await.context("the peer has gone")??;
            if message.is_binary() {
                return Ok(message.as_payload().len());
            }
            if message.is_close() {
                bail!("the peer closed the connection");
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        self.socket.close().await?;
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}

native_link!(Socket);
