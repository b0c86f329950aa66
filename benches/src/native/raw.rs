//! TCP without WebSockets, which is the upper bound for every client.

use super::native_link;
use crate::server::RECEIPT;
use anyhow::{Context, Result};
use bench_exchange::{Link, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Messages are so many bytes, without more.
pub(super) struct Raw {
    tcp: TcpStream,
    payload: Vec<u8>,
    /// Bytes that were read, and how many of them are not yet received.
    buffer: Vec<u8>,
    unread: usize,
}

impl Link for Raw {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let address = target.url.strip_prefix("tcp://").context("only tcp:// here")?;
        let tcp = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        tcp.set_nodelay(true)?;
        Ok(Raw { tcp, payload: vec![7; size], buffer: vec![0; 64 * 1024], unread: 0 })
    }

    async fn send(&mut self) -> Result<()> {
        Ok(self.tcp.write_all(&self.payload).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        while self.unread < self.payload.len() {
            let read = self.tcp.read(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the peer ended the connection");
            self.unread += read;
        }
        self.unread -= self.payload.len();
        Ok(self.payload.len())
    }

    async fn receive_receipt(&mut self, count: u64) -> Result<()> {
        for _ in 0..count * self.payload.len() as u64 / RECEIPT {
            self.tcp.read_u8().await?;
        }
        Ok(())
    }

    async fn close(mut self) -> Result<()> {
        Ok(self.tcp.shutdown().await?)
    }
}

native_link!(Raw);
