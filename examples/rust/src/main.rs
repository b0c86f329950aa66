//! Sends a greeting to the WebSocket server that `WS_URL` names, and prints the answer.

wit_bindgen::generate!({ path: "wit", world: "hello", generate_all });

use std::error::Error;
use wasmcloud::websocket::{
    client::{ClientConfig, connect},
    types::Message,
};

const ABOUT: &str = "Sends a greeting to the WebSocket server that WS_URL names, and prints the answer.";
const USAGE: &str = "usage: hello, with a server in WS_URL, such as ws://localhost:9001/";

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--help" | "-h") => return println!("{ABOUT}\n{USAGE}"),
        Some(argument) => misused(&format!("unexpected argument {argument}")),
        None => {}
    }
    let url = std::env::var("WS_URL").unwrap_or_default();
    if url.is_empty() {
        misused("WS_URL is not set");
    }
    if let Err(error) = hello(url) {
        eprintln!("hello: {error}");
        std::process::exit(1);
    }
}

fn misused(why: &str) {
    eprintln!("hello: {why}\n{USAGE}");
    // The standard library ends every guest that fails with 1.
    wasip2::cli::exit::exit_with_code(2);
}

fn hello(url: String) -> Result<(), Box<dyn Error>> {
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
