//! A command of WASI 0.3: receives one message from each of its arguments' URLs, all at once, says so, and leaves
//! its connections as they are.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:concurrent/concurrent", generate_all });

use futures_util::future::join_all;
use std::io::Write;
use wasi::clocks::monotonic_clock::wait_for;
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::WebsocketError,
};

/// How long a task lets the others go on when there is nothing for it, in nanoseconds.
const PAUSE: u64 = 1_000_000;

struct Component;

impl exports::wasi::cli::run::Guest for Component {
    async fn run() -> Result<(), ()> {
        let tasks = std::env::args().skip(1).enumerate().map(|(number, url)| async move {
            let connection = connect(&to(url))?;
            say(&format!("{number} is open"));
            let message = receive(&connection).await?;
            say(&format!("{number} received {message}"));
            std::mem::forget(connection);
            Ok(())
        });
        for outcome in join_all(tasks).await {
            outcome.map_err(|error: WebsocketError| say(&format!("{error:?}")))?;
        }
        Ok(())
    }
}

/// The next message. `receive` holds up the whole instance for as long as it waits, since its type is not async.
async fn receive(connection: &Connection) -> Result<String, WebsocketError> {
    loop {
        match connection.receive()? {
            Some(message) => return Ok(format!("{message:?}")),
            None => wait_for(PAUSE).await,
        }
    }
}

fn to(url: String) -> ClientConfig {
    ClientConfig {
        url,
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    }
}

/// A line on standard output, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

export!(Component);
