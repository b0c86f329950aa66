//! A server for WebSockets that sends every message back: `cargo run -p websocket-listener --example echo`.

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::sync::watch;
use websocket_connection::{Endpoint, Error, Message, Settings, Upgrade};
use websocket_listener::{Listener, Service};

#[derive(Clone)]
struct Echo(Endpoint);

impl Service for Echo {
    async fn answer(&self, mut request: Request<Incoming>, secure: bool) -> Response<Full<Bytes>> {
        match self.0.upgrade(&mut request, secure) {
            Ok(upgrade) => {
                let response = upgrade.response();
                tokio::spawn(async { echo(upgrade).await.unwrap_or_else(|error| eprintln!("{error}")) });
                response
            }
            Err(refusal) => refusal.response(),
        }
    }
}

async fn echo(upgrade: Upgrade) -> Result<(), Error> {
    let connection = upgrade.accept().await?;
    loop {
        match connection.receive().await? {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => connection.send(&message).await?,
            Some(Message::Close(_)) => return Ok(()),
            // The connection has answered the ping; or nothing has come for the setting `receive-wait`.
            Some(Message::Ping(_) | Message::Pong(_)) | None => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:0").await?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.send_replace(true);
    });
    listener.serve(Echo(Endpoint::new(Settings::default())?), stopping).await?;
    Ok(())
}
