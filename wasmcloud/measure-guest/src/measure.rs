//! How long calls take, as a guest sees it.

use crate::wasmcloud::websocket::{
    client::{ClientConfig, connect},
    types::{Message, WebsocketError},
};
use std::time::Instant;

/// Calls `get-state` so often, then sends 64 bytes and waits for their echo so often. The nanoseconds that each took,
/// in a line for each of the two.
pub(crate) fn measure(url: &str, count: usize) -> Result<String, WebsocketError> {
    let connection = connect(&ClientConfig {
        url: url.to_owned(),
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    })?;
    let message = Message::Binary(vec![7; 64]);
    let calls = times(count, || {
        connection.get_state();
        Ok(())
    })?;
    let echoes = times(count, || {
        connection.send(&message)?;
        while connection.receive()?.is_none() {}
        Ok(())
    })?;
    connection.close(None, None)?;
    Ok(format!("{calls}\n{echoes}"))
}

fn times(count: usize, mut call: impl FnMut() -> Result<(), WebsocketError>) -> Result<String, WebsocketError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        call()?;
        times.push(begun.elapsed().as_nanos().to_string());
    }
    Ok(times.join(" "))
}
