//! Exchanges messages over the host's WebSockets, as it is told on its standard input. With a URL as its argument it
//! opens one connection and waits for a message there.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:bench/bench", generate_all });

use anyhow::{Result, anyhow, bail};
use bench_exchange::{Job, Link, Sample, Target, exchange, now, serve};
use std::time::Instant;
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::Message,
};

struct WebSocket {
    connection: Connection,
    message: Message,
}

impl Link for WebSocket {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let config = ClientConfig {
            url: target.url.clone(),
            subprotocols: None,
            headers: None,
            timeout_ms: None,
            max_message_size: None,
            enable_keepalive: None,
            keepalive_interval_ms: None,
        };
        let connection = connect(&config).map_err(|error| anyhow!("{error}"))?;
        Ok(WebSocket { connection, message: Message::Binary(vec![7; size]) })
    }

    async fn send(&mut self) -> Result<()> {
        self.connection.send(&self.message).map_err(|error| anyhow!("{error}"))
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            match self.connection.receive().map_err(|error| anyhow!("{error}"))? {
                Some(Message::Binary(data)) => return Ok(data.len()),
                Some(Message::Close(_)) => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    if let Some(url) = std::env::args().nth(1) {
        let target = Target { url, authority: None };
        return now(async { WebSocket::connect(&target, 0).await?.receive().await.map(drop) });
    }
    serve(|job, start| now(work(job, start)))
}

async fn work(job: Job, start: &mut dyn FnMut() -> Result<()>) -> Result<Sample> {
    match job {
        Job::Exchange { target, mode, size, count, connections: 1 } => {
            let mut link = WebSocket::connect(&target, size).await?;
            start()?;
            exchange(&mut link, mode, size, count).await
        }
        Job::Connect { target, size: 0, count } => {
            start()?;
            let began = Instant::now();
            for _ in 0..count {
                WebSocket::connect(&target, 0).await?.close().await?;
            }
            Ok(Sample { nanos: began.elapsed().as_nanos() as u64, ..Sample::default() })
        }
        Job::Hold { target, size: 0, connections } => {
            let mut links = Vec::new();
            for _ in 0..connections {
                links.push(WebSocket::connect(&target, 0).await?);
            }
            start()?;
            Ok(Sample::default())
        }
        other => bail!("this is for others: {other:?}"),
    }
}
