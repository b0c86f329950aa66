//! Sends a greeting to the WebSocket server that `WS_URL` names, and prints the answer.

wit_bindgen::generate!({ path: "wit", world: "hello", generate_all });

use std::error::Error;
use wasmcloud::websocket::{
    client::{ClientConfig, connect},
    types::Message,
};

fn main() {
    if let Err(error) = hello() {
        eprintln!("hello: {error}");
        std::process::exit(1);
    }
}

fn hello() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("WS_URL").unwrap_or_default();
    if url.is_empty() {
        Err("name a server in WS_URL, such as ws://localhost:9001/")?;
    }
    let connection = connect(&ClientConfig {
        url,
        subprotocols: None,
        headers: None,
        timeout_ms: Some(5000),
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    })
    .map_err(|error| format!("cannot connect: {error}"))?;
    connection.send(&Message::Text("Hello from Rust!".into()))?;
    let answer = loop {
        match connection.receive()? {
            Some(Message::Text(text)) => break text,
            Some(Message::Close(info)) => Err(format!("the server closed with {} and no answer", info.code))?,
            // Nothing yet, or nothing that answers.
            _ => {}
        }
    };
    println!("the server answered: {answer}");
    connection.close(Some(1000), None)?;
    Ok(())
}
