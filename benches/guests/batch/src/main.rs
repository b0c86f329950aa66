//! Exchanges messages with calls for many of them: what a loop sends leaves with one call when it has nothing more to
//! receive, and what has come is taken with one.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:bench/batches", generate_all });

use anyhow::{Context, Result, anyhow, bail};
use bench_exchange::{Job, Link, Target, exchange, now, serve};
use std::mem;
use wasmcloud::{
    bench::batch::{receive_many, send_many},
    websocket::client::{ClientConfig, Connection, connect},
};

/// The most messages in one call.
const MOST: u32 = 64;

struct Batches {
    connection: Connection,
    payload: Vec<u8>,
    to_send: Vec<Vec<u8>>,
    received: std::vec::IntoIter<Vec<u8>>,
}

impl Link for Batches {
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
        Ok(Batches { connection, payload: vec![7; size], to_send: Vec::new(), received: Vec::new().into_iter() })
    }

    async fn send(&mut self) -> Result<()> {
        self.to_send.push(self.payload.clone());
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        if self.received.len() == 0 {
            send_many(&self.connection, &mem::take(&mut self.to_send)).map_err(|error| anyhow!(error))?;
            self.received = receive_many(&self.connection, MOST).map_err(|error| anyhow!(error))?.into_iter();
        }
        self.received.next().map(|data| data.len()).context("it waits for one")
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    serve(|job, start| {
        let Job::Exchange { target, mode, size, count, connections: 1 } = job else {
            bail!("this guest only exchanges messages, on one connection")
        };
        now(async {
            let mut link = Batches::connect(&target, size).await?;
            start()?;
            exchange(&mut link, mode, size, count).await
        })
    })
}
