//! Clients and an echo server of `websocket-connection`, without a guest.

use anyhow::{Result, bail, ensure};
use bench_exchange::{Job, Sample, serve};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_util::io::{InspectReader, InspectWriter};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Error, Message, Settings};

/// What a path ends with whose connection is to be counted.
pub(crate) const COUNTED: &str = "/counted";
/// How many messages each idle connection has exchanged before.
const EXCHANGED: u64 = 4;
/// How many messages are broadcast before the measured ones.
const WARM_UP: u64 = 2;
/// The most connections of any benchmark.
const MOST_CONNECTIONS: &str = "16000";

/// `settings` are pairs of a name and a value, as in `compress=true,compress-level=1`.
pub(crate) fn endpoint(settings: &str) -> Result<Endpoint> {
    let mut all = Settings::default();
    let most = [("max-connections", MOST_CONNECTIONS), ("max-connections-total", MOST_CONNECTIONS)];
    let given = settings.split(',').filter_map(|setting| setting.split_once('='));
    for (name, value) in [("allow", "127.0.0.1")].into_iter().chain(most).chain(given) {
        all.set(name, value)?;
    }
    Ok(Endpoint::new(all)?)
}

/// Serves until the process is killed; prints the address in its first line, and the bytes of each connection whose path ends
/// with [`COUNTED`] in a line after it. The rest of the path is that of [`bench_exchange::Mode`].
pub(crate) fn server(settings: &str) -> Result<()> {
    let endpoint = endpoint(settings)?;
    Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("ws://{}", listener.local_addr()?);
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let endpoint = endpoint.clone();
            let bytes = Arc::new(AtomicU64::new(0));
            let counter = || {
                let bytes = Arc::clone(&bytes);
                move |data: &[u8]| {
                    bytes.fetch_add(data.len() as u64, Relaxed);
                }
            };
            let stream = InspectWriter::new(InspectReader::new(tcp, counter()), counter());
            tokio::spawn(async move {
                let connection = endpoint.accept_over(stream, Bytes::new(), false).await?.accept().await?;
                let path = connection.url().to_owned();
                let outcome = answer(&connection, path.trim_end_matches(COUNTED)).await;
                if path.ends_with(COUNTED) {
                    println!("{}", bytes.load(Relaxed));
                }
                outcome
            });
        }
    })
}

/// Does what the path of a connection says until the client closes it.
async fn answer(connection: &Connection, path: &str) -> Result<()> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (mut received, last) = (0_u64, if let ["sink", count] = parts[..] { count.parse()? } else { 0 });
    loop {
        let message = match connection.receive().await {
            Ok(Some(message @ Message::Text(_))) => message,
            Ok(_) => continue,
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        received += 1;
        match parts[..] {
            ["sink", _] if received == last => connection.send("received").await?,
            ["sink", _] => {}
            ["source", size, count] => {
                let text = json(size.parse()?);
                for _ in 0..count.parse::<u64>()? {
                    connection.send(text.as_str()).await?;
                }
            }
            _ => connection.send(&message).await?,
        }
    }
}

/// Does jobs with connections of these settings.
pub(crate) fn clients(settings: &str) -> Result<()> {
    let endpoint = endpoint(settings)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    serve(|job, start| match job {
        Job::Hold { target, size, connections } => {
            let clients = runtime.block_on(connect(&endpoint, &target.url, connections))?;
            for client in &clients {
                runtime.block_on(broadcast(std::slice::from_ref(client), &json(size), EXCHANGED))?;
            }
            start()?;
            drop(clients);
            Ok(Sample::default())
        }
        Job::Broadcast { target, size, count, connections, differ } => {
            // By the first byte, the guest knows whether to make each copy differ.
            let text = format!("{}{}", if differ { 'd' } else { 's' }, json(size - 1));
            let clients = runtime.block_on(connect(&endpoint, &target.url, connections))?;
            runtime.block_on(broadcast(&clients, &text, WARM_UP))?;
            start()?;
            let began = Instant::now();
            runtime.block_on(broadcast(&clients, &text, count))?;
            Ok(Sample { nanos: began.elapsed().as_nanos() as u64, ..Sample::default() })
        }
        other => bail!("this is for others: {other:?}"),
    })
}

async fn connect(endpoint: &Endpoint, url: &str, count: usize) -> Result<Vec<Connection>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(endpoint.connect(ConnectConfig::new(url)).await?);
    }
    Ok(clients)
}

/// The first client sends `count` messages, each when all clients have received the last one.
async fn broadcast(clients: &[Connection], text: &str, count: u64) -> Result<()> {
    for _ in 0..count {
        if let Some(speaker) = clients.first() {
            speaker.send(text).await?;
        }
        for client in clients {
            let received = loop {
                if let Some(Message::Text(text)) = client.receive().await? {
                    break text;
                }
            };
            ensure!(received.len() == text.len(), "{} bytes came where {} were due", received.len(), text.len());
        }
    }
    Ok(())
}

/// A text of this size, at least 64 bytes, like the trades that a market sends: the same keys, and values that differ.
pub(crate) fn json(size: usize) -> String {
    let mut text = r#"{"type":"update","channel":"trades","items":["#.to_owned();
    let mut state = 1_u64;
    let mut value = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    while text.len() < size {
        let (id, price, cents, quantity) = (value(100_000_000), value(70_000), value(100), value(100_000));
        let (user, symbol) =
            (["alice", "bob", "carol", "dave"][value(4) as usize], ["BTC-USD", "ETH-EUR"][value(2) as usize]);
        text.push_str(&format!(
            r#"{{"id":{id},"user":"{user}","symbol":"{symbol}","price":{price}.{cents:02},"quantity":0.{quantity:05}}},"#
        ));
    }
    text.truncate(size - 2);
    text.push_str("]}");
    text
}
