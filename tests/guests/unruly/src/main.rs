//! A guest that misbehaves: `unruly WAY URL`. It opens a connection first, says so on standard output, and
//! ends cleanly if its way of misbehaving lets it end at all.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:unruly/unruly", generate_all });

use std::{hint::black_box, io::Write, process::ExitCode};
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::{Message, WebsocketError, WebsocketHeaders},
};

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(way), Some(url)) = (args.next(), args.next()) else {
        eprintln!("usage: unruly WAY URL");
        return ExitCode::FAILURE;
    };
    match misbehave(&way, &url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn misbehave(way: &str, url: &str) -> Result<(), WebsocketError> {
    match way {
        "hoard" => return hoard(url),
        "strings" => return strings(url),
        _ => {}
    }
    let connection = connect(&to(url))?;
    say("open");
    match way {
        "loop" => while black_box(true) {},
        "memory" => {
            let mut held = Vec::new();
            loop {
                held.push(black_box(vec![1_u8; MIB]));
            }
        }
        "panic" => {
            let _other = connect(&to(url))?;
            panic!("as it was asked to");
        }
        "recurse" => println!("{}", recurse(1)),
        "receive" => {
            connection.send(&Message::Text("waiting".to_owned()))?;
            while connection.receive()?.is_none() {}
        }
        "flood" => loop {
            connection.send(&Message::Binary(vec![0; 100_000]))?;
        },
        "drop" | "leak" | "return" | "exit" | "trap" => {
            connection.send(&Message::Binary(vec![0; 8 * MIB]))?;
            match way {
                "drop" => {
                    drop(connection);
                    say("dropped");
                    while black_box(true) {}
                }
                "leak" => std::mem::forget(connection),
                "exit" => std::process::exit(7),
                "trap" => std::process::abort(),
                _ => {}
            }
        }
        "print" => loop {
            say(&"x".repeat(1000));
        },
        "complain" => loop {
            eprintln!("{}", "x".repeat(1000));
        },
        "timers" => loop {
            std::mem::forget(wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX));
        },
        "random" => println!("{}", wasip2::random::random::get_random_bytes(1 << 40).len()),
        _ => {
            eprintln!("unruly: there is no way {way:?}");
            std::process::exit(2)
        }
    }
    Ok(())
}

fn to(url: &str) -> ClientConfig {
    ClientConfig {
        url: url.to_owned(),
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
    // If nobody reads the output, the way of misbehaving decides what happens.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(recurse(black_box(depth + 1))) + 1 }
}

/// Opens ten thousand connections, or as many as it gets, and keeps them until its input ends.
fn hoard(url: &str) -> Result<(), WebsocketError> {
    let mut held: Vec<Connection> = Vec::new();
    let mut outcome = Ok(());
    while held.len() < 10_000 && outcome.is_ok() {
        outcome = connect(&to(url)).map(|connection| held.push(connection));
    }
    say(&format!("holds {}", held.len()));
    let _ = std::io::stdin().read_line(&mut String::new());
    outcome
}

/// Passes strings of many MiB wherever a guest may pass one, and prints each result.
fn strings(url: &str) -> Result<(), WebsocketError> {
    let huge = "a".repeat(20 * MIB);
    let escaped = "\u{1}".repeat(20 * MIB);
    let field =
        |name: &str, value: &str| Some(vec![WebsocketHeaders { name: name.to_owned(), value: value.to_owned() }]);
    let connection = connect(&to(url))?;
    for text in [&huge, &escaped] {
        let attempts = [
            ("path", ClientConfig { url: format!("{url}{text}"), ..to(url) }),
            ("scheme", ClientConfig { url: format!("{text}://localhost/"), ..to(url) }),
            ("host", ClientConfig { url: format!("ws://{text}/"), ..to(url) }),
            ("credentials", ClientConfig { url: url.replace("ws://", &format!("ws://{text}@")), ..to(url) }),
            ("subprotocol", ClientConfig { subprotocols: Some(vec![text.clone()]), ..to(url) }),
            ("field name", ClientConfig { headers: field(text, "value"), ..to(url) }),
            ("field value", ClientConfig { headers: field("name", text), ..to(url) }),
        ];
        for (what, config) in attempts {
            tell(what, connect(&config).map(drop));
        }
        tell("text", connection.send(&Message::Text(text.clone())));
        tell("ping", connection.send(&Message::Ping(text.clone().into_bytes())));
        tell("reason", connection.close(None, Some(text)));
    }
    Ok(())
}

fn tell(what: &str, outcome: Result<(), WebsocketError>) {
    say(&format!("{what}: {outcome:?}"));
}
