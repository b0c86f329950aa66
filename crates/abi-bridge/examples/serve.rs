//! A server whose requests and WebSockets a guest answers:
//! `cargo run -p websocket-abi-bridge --example serve -- GUEST.wasm`.

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, env, error::Error, fs, sync::Arc, thread, time::Duration};
use tokio::net::TcpListener;
use wasmtime::{Config, Engine};
use wasmtime_wasi::WasiCtxBuilder;
use websocket_abi_bridge::{EmbeddedStores, Limits, Module, Options, Server};
use websocket_connection::{Endpoint, Settings};

/// How long a guest may compute before the host can run other tasks on its thread, or end it.
const TIME_SLICE: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let guest = env::args().nth(1).ok_or("usage: serve GUEST.wasm")?;
    let module = Module::load(&engine()?, &fs::read(&guest)?)?;
    let options = Options {
        name: guest,
        instances: 1,
        limits: Limits::default(),
        endpoint: Endpoint::new(Settings::default())?,
        stores: Arc::new(EmbeddedStores::in_memory()?),
        wasi: Box::new(|| WasiCtxBuilder::new().inherit_stdio().build_p1()),
    };
    let server = Arc::new(Server::start(module, options).await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}/", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(server.answer(request, false).await) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(client), service).with_upgrades();
        tokio::spawn(async { serving.await.unwrap_or_else(|error| eprintln!("{error}")) });
    }
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
