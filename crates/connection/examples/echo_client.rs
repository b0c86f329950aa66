//! Sends a text to an echo server, prints the answer and closes:
//! `cargo run -p websocket-connection --example echo_client -- ws://127.0.0.1:8080/`.

use std::error::Error;
use websocket_connection::{ConnectConfig, Endpoint, Message, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("give the URL of an echo server, such as ws://127.0.0.1:8080/")?;
    let mut settings = Settings::default();
    // `*` allows every public address; loopback addresses are allowed by name.
    settings.set("allow", "*")?;
    settings.set("allow", "localhost")?;
    let endpoint = Endpoint::new(settings)?;

    let connection = endpoint.connect(ConnectConfig::new(url)).await?;
    connection.send("hello").await?;
    loop {
        match connection.receive().await? {
            Some(Message::Close(_)) => break,
            Some(message @ (Message::Text(_) | Message::Binary(_))) => {
                println!("{message:?}");
                connection.close(Some(1000), None)?;
            }
            // The connection has answered the ping; or nothing has come for the setting `receive-wait`.
            Some(Message::Ping(_) | Message::Pong(_)) | None => {}
        }
    }
    endpoint.closed().await;
    Ok(())
}
