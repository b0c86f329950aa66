//! The client under test of the Autobahn suite's fuzzing server: `autobahn URL AGENT` asks how many cases
//! there are, echoes what each sends, and has the report written.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:autobahn/autobahn", generate_all });

use std::process::ExitCode;
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::{Message, WebsocketError},
};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (args.next(), args.next()) else {
        eprintln!("usage: autobahn URL AGENT");
        return ExitCode::FAILURE;
    };
    match suite(&url, &agent) {
        Ok(cases) => {
            println!("{cases} cases");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("autobahn: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn suite(url: &str, agent: &str) -> Result<u32, WebsocketError> {
    let mut cases = 0;
    echo(&open(format!("{url}/getCaseCount"))?, |text| cases = text.trim().parse().unwrap_or(0));
    for case in 1..=cases {
        // The suite judges what happens here; how a case ends is its business.
        if let Ok(connection) = open(format!("{url}/runCase?case={case}&agent={agent}")) {
            echo(&connection, |_| {});
        }
    }
    echo(&open(format!("{url}/updateReports?agent={agent}"))?, |_| {});
    Ok(cases)
}

fn open(url: String) -> Result<Connection, WebsocketError> {
    connect(&ClientConfig {
        url,
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: Some(32 * 1024 * 1024),
        enable_keepalive: Some(false),
        keepalive_interval_ms: None,
    })
}

/// Sends back what comes until the connection ends; shows each text to `see`.
fn echo(connection: &Connection, mut see: impl FnMut(&str)) {
    loop {
        let message = match connection.receive() {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(_) => return,
        };
        let sent = match &message {
            Message::Text(text) => {
                see(text);
                connection.send(&message)
            }
            Message::Binary(_) => connection.send(&message),
            // The host has answered the ping, and answers the close.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if sent.is_err() {
            // What the peer sent before its close is still to be read.
            continue;
        }
    }
}
