//! Standard input, line by line, out as text messages; messages in to standard output. Ends when the
//! server closes, or when the input has ended and nothing has come for the host's receive wait.

wit_bindgen::generate!({ path: "wit", world: "ws-cat", generate_all });

use std::{
    io::{self, Write},
    process::ExitCode,
};
use wasip2::{
    cli::stdin::get_stdin,
    io::streams::{InputStream, StreamError},
};
use wasmcloud::websocket::{
    client::{ClientConfig, connect},
    types::{Message, WebsocketError},
};

const ABOUT: &str =
    "Sends the lines of standard input to the WebSocket server at URL as text messages, and prints the messages
that come. Offers the server each SUBPROTOCOL, the most wanted first.";
const USAGE: &str = "usage: ws-cat URL [SUBPROTOCOL...]";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{ABOUT}\n{USAGE}");
        return ExitCode::SUCCESS;
    }
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        return misused(&format!("unknown option {option}"));
    }
    if args.is_empty() {
        return misused("URL is missing");
    }
    match talk(args.remove(0), args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ws-cat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misused(why: &str) -> ExitCode {
    eprintln!("ws-cat: {why}\n{USAGE}");
    // The standard library ends every guest that fails with 1.
    wasip2::cli::exit::exit_with_code(2);
    ExitCode::FAILURE
}

fn talk(url: String, subprotocols: Vec<String>) -> Result<(), String> {
    let config = ClientConfig {
        url,
        subprotocols: Some(subprotocols),
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    };
    let connection = connect(&config).map_err(|error| format!("cannot connect: {error:?}"))?;
    let mut lines = Lines { stdin: get_stdin(), rest: Vec::new(), ended: false };
    loop {
        // All lines that are there, then one message, or none after the host's receive wait.
        while let Some(line) = lines.next()? {
            connection.send(&Message::Text(line)).map_err(|error| format!("cannot send: {error:?}"))?;
        }
        match connection.receive() {
            Ok(Some(message)) => print(message)?,
            Ok(None) if lines.ended => {
                connection.close(Some(1000), None).map_err(|error| format!("cannot close: {error:?}"))?;
            }
            Ok(None) => {}
            Err(WebsocketError::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(format!("cannot receive: {error:?}")),
        }
    }
}

/// Prints a message; a close frame that tells of trouble is an error.
fn print(message: Message) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let written = match message {
        Message::Text(text) => writeln!(stdout, "{text}"),
        Message::Binary(data) => stdout.write_all(&data),
        Message::Close(info) if !matches!(info.code, 1000 | 1001 | 1005) => {
            return Err(format!("the server closed with {}: {}", info.code, info.reason.unwrap_or_default()));
        }
        Message::Close(_) | Message::Ping(_) | Message::Pong(_) => Ok(()),
    };
    written.and_then(|()| stdout.flush()).map_err(|error| format!("cannot print: {error}"))
}

/// Lines of standard input, without ever waiting for one.
struct Lines {
    stdin: InputStream,
    rest: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next line that has arrived whole; at the end of input, what is left of it.
    fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=end).collect();
                line.pop();
                return text(line).map(Some);
            }
            if self.ended {
                let last = std::mem::take(&mut self.rest);
                return if last.is_empty() { Ok(None) } else { text(last).map(Some) };
            }
            match self.stdin.read(64 * 1024) {
                Ok(data) if data.is_empty() => return Ok(None),
                Ok(data) => self.rest.extend(data),
                Err(StreamError::Closed) => self.ended = true,
                Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
            }
        }
    }
}

fn text(line: Vec<u8>) -> Result<String, String> {
    String::from_utf8(line).map_err(|_| "standard input has a line that is not UTF-8".to_owned())
}
