//! Exchanges messages over tungstenite inside the guest, on the sockets of the standard library.

use anyhow::{Context, Result, bail};
use bench_exchange::{Job, Link, Target, exchange, now, serve};
use std::net::TcpStream;
use tungstenite::{Bytes, Message, WebSocket, client};

struct Sockets {
    socket: WebSocket<TcpStream>,
    payload: Bytes,
}

impl Link for Sockets {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let address = target.url.strip_prefix("ws://").context("only ws:// here")?;
        let address = address.split('/').next().unwrap_or(address);
        let tcp = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        // WASI 0.2 has no such option; where it comes to be, it is used.
        let _ = tcp.set_nodelay(true);
        let (socket, _) = client(target.url.as_str(), tcp)?;
        Ok(Sockets { socket, payload: vec![7; size].into() })
    }

    async fn send(&mut self) -> Result<()> {
        Ok(self.socket.send(Message::Binary(self.payload.clone()))?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            match self.socket.read()? {
                Message::Binary(data) => return Ok(data.len()),
                Message::Close(_) => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        Ok(self.socket.close(None)?)
    }
}

fn main() -> Result<()> {
    serve(|job, start| {
        let Job::Exchange { target, mode, size, count, connections: 1 } = job else {
            bail!("this guest only exchanges messages, on one connection")
        };
        now(async {
            let mut link = Sockets::connect(&target, size).await?;
            start()?;
            exchange(&mut link, mode, size, count).await
        })
    })
}
