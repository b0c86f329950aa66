//! Follows one symbol of a market feed: prints each tick once and in order, whatever happens to the connection.

wit_bindgen::generate!({ path: "wit", world: "follower", generate_all });

mod backoff;
mod feed;

use backoff::Backoff;
use feed::{Progress, Ticks};
use std::{
    io::{self, Write},
    process::ExitCode,
    thread::sleep,
};
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::{Message, WebsocketError},
};

const ABOUT: &str = "Prints each tick of SYMBOL once and in order, from the market feed at URL, until the feed ends
or COUNT ticks have come.";
const USAGE: &str = "usage: follower URL SYMBOL [COUNT]";

/// How a session with the feed ended.
enum End {
    /// There is nothing more to follow.
    Finished,
    /// It may go on over another connection.
    Lost(String),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{ABOUT}\n{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (url, symbol, end) = match arguments(&args) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("follower: {why}\n{USAGE}");
            // The standard library ends every guest that fails with 1.
            wasip2::cli::exit::exit_with_code(2);
            return ExitCode::FAILURE;
        }
    };
    match follow(url, &mut Ticks::new(symbol, end)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follower: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The URL, the symbol, and the number of the last tick.
fn arguments(args: &[String]) -> Result<(&str, &str, u64), String> {
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        return Err(format!("unknown option {option}"));
    }
    match args {
        [url, symbol] => Ok((url, symbol, u64::MAX)),
        [url, symbol, count] => match count.parse() {
            Ok(count) => Ok((url, symbol, count)),
            Err(error) => Err(format!("COUNT is {count}: {error}")),
        },
        [_, _, _, unexpected, ..] => Err(format!("unexpected argument {unexpected}")),
        _ => Err("URL and SYMBOL are missing".to_owned()),
    }
}

/// One session after the other, until the last tick or a trouble that another connection would not end.
fn follow(url: &str, ticks: &mut Ticks) -> Result<(), String> {
    let mut backoff = Backoff::default();
    loop {
        let before = ticks.last();
        let why = match session(url, ticks)? {
            End::Finished => return Ok(()),
            End::Lost(why) => why,
        };
        if ticks.last() > before {
            backoff = Backoff::default();
        }
        let Some(pause) = backoff.next() else { return Err(format!("gave up: {why}")) };
        eprintln!("lost: {why}; again in {} ms", pause.as_millis());
        sleep(pause);
    }
}

fn session(url: &str, ticks: &mut Ticks) -> Result<End, String> {
    let config = ClientConfig {
        url: url.to_owned(),
        subprotocols: None,
        headers: None,
        timeout_ms: Some(5000),
        max_message_size: Some(64 * 1024),
        // The host pings a feed that is silent, and reports one that does not answer either.
        enable_keepalive: Some(true),
        keepalive_interval_ms: Some(1000),
    };
    let outcome = connect(&config).and_then(|connection| {
        eprintln!("connected to {}", connection.get_url());
        receive(&connection, ticks)
    });
    match outcome {
        Ok(end) => end,
        Err(error @ (WebsocketError::InvalidUrl(_) | WebsocketError::AuthenticationFailed(_))) => {
            Err(format!("cannot connect: {error}"))
        }
        Err(error) => Ok(End::Lost(error.to_string())),
    }
}

/// Subscribes and takes what comes. The inner error is one that another connection would not end.
fn receive(connection: &Connection, ticks: &mut Ticks) -> Result<Result<End, String>, WebsocketError> {
    connection.send(&Message::Text(ticks.subscribe()))?;
    loop {
        let text = match connection.receive()? {
            Some(Message::Text(text)) => text,
            Some(Message::Close(info)) if info.code == 1000 => return Ok(Ok(End::Finished)),
            Some(Message::Close(info)) => {
                let reason = info.reason.unwrap_or_default();
                return Ok(Ok(End::Lost(format!("the feed closed with {} {reason}", info.code))));
            }
            _ => continue,
        };
        match ticks.take(&text) {
            Ok(Progress::Tick(line)) => {
                if let Err(error) = writeln!(io::stdout(), "{line}") {
                    return Ok(Err(format!("cannot print: {error}")));
                }
            }
            Ok(Progress::Gap { missing, got }) => {
                eprintln!("gap: tick {got} came instead of {missing}; subscribing again");
                connection.send(&Message::Text(ticks.subscribe()))?;
            }
            Ok(Progress::Nothing) => {}
            Err(error) => return Ok(Err(error)),
        }
        if ticks.are_complete() {
            connection.close(Some(1000), Some("followed"))?;
            return drain(connection).map(Ok);
        }
    }
}

/// Waits for the feed's own close frame: only then has it seen ours.
fn drain(connection: &Connection) -> Result<End, WebsocketError> {
    loop {
        match connection.receive() {
            Ok(Some(Message::Close(_))) | Err(WebsocketError::ConnectionClosed) => return Ok(End::Finished),
            Ok(_) => {}
            Err(error) => {
                eprintln!("the feed did not complete the closing handshake: {error}");
                return Ok(End::Finished);
            }
        }
    }
}
