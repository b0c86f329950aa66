//! Accepts callers over TCP, and connects each through a transport to a WebSocket server on this machine:
//! `cargo run -p websocket-watm --example dial -- TRANSPORT.wasm ws://127.0.0.1:9000/`.

use futures_util::future::BoxFuture;
use std::{env, error::Error, fs, io, sync::Arc, thread, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use wasmtime::{Config, Engine};
use websocket_connection::{ConnectConfig, Endpoint, Settings};
use websocket_watm::{Dialer, End, Module, Options, RunError, Transport, WebSocketTransport};

/// How long a transport may compute before the host can run other tasks on its thread.
const TIME_SLICE: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(transport), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("usage: dial TRANSPORT.wasm ws://127.0.0.1:PORT/".into());
    };
    let module = Module::load(&engine()?, &fs::read(transport)?)?;
    let dialer = Arc::new(Dialer::new(&module, Options::default())?);
    let mut settings = Settings::default();
    settings.set("allow", "localhost")?;
    let endpoint = Endpoint::new(settings)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on tcp://{}", listener.local_addr()?);
    loop {
        let (caller, _) = listener.accept().await?;
        let (dialer, endpoint, url) = (Arc::clone(&dialer), endpoint.clone(), url.clone());
        tokio::spawn(async move {
            match serve(&dialer, caller, endpoint, url).await {
                Ok(end) => println!("a connection has ended: {end:?}"),
                Err(error) => eprintln!("a connection has failed: {error}"),
            }
        });
    }
}

async fn serve(dialer: &Dialer, caller: TcpStream, endpoint: Endpoint, url: String) -> Result<End, RunError> {
    let dial = move || -> BoxFuture<'static, io::Result<Box<dyn Transport>>> {
        let (endpoint, config) = (endpoint.clone(), ConnectConfig::new(url.clone()));
        Box::pin(async move {
            let connection = endpoint.connect(config).await.map_err(io::Error::other)?;
            Ok(Box::new(WebSocketTransport::new(connection)) as Box<dyn Transport>)
        })
    };
    dialer.open(caller, dial).await?.ended().await
}

fn engine() -> wasmtime::Result<Engine> {
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    let ticking = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TIME_SLICE);
        }
    });
    Ok(engine)
}
