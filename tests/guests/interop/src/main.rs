//! `interop URL`: talks to a server as tests/peers/README.md describes them, and fails at the first thing that
//! is not as it should be.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:interop/interop", generate_all });

use std::{
    fmt::Debug,
    process::ExitCode,
    time::{Duration, Instant},
};
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::{CloseInfo, Message, WebsocketError, WebsocketHeaders},
};

const LARGEST: usize = 16 << 20;
/// Longer than the proxies of the test let a connection be silent.
const IDLE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: interop URL");
        return ExitCode::FAILURE;
    };
    type Check = fn(&str) -> Result<(), String>;
    let checks: [(&str, Check); 8] = [
        ("text", text),
        ("binary", binary),
        ("subprotocols", subprotocols),
        ("headers", headers),
        ("fragments", fragments),
        ("keep-alive", keep_alive),
        ("close by the server", closed),
        ("close by the guest", close),
    ];
    for (name, check) in checks {
        if let Err(why) = check(url.trim_end_matches('/')) {
            eprintln!("{name}: {why}");
            return ExitCode::FAILURE;
        }
        println!("{name}");
    }
    ExitCode::SUCCESS
}

fn open(url: String, subprotocols: &[&str], headers: &[(&str, &str)]) -> Result<Connection, String> {
    let header =
        |(name, value): &(&str, &str)| WebsocketHeaders { name: (*name).to_owned(), value: (*value).to_owned() };
    let config = ClientConfig {
        url,
        subprotocols: Some(subprotocols.iter().map(|name| (*name).to_owned()).collect()),
        headers: Some(headers.iter().map(header).collect()),
        timeout_ms: None,
        max_message_size: Some(LARGEST as u32),
        enable_keepalive: None,
        keepalive_interval_ms: None,
    };
    connect(&config).map_err(|error| format!("connect: {error:?}"))
}

fn send(connection: &Connection, message: &Message) -> Result<(), String> {
    connection.send(message).map_err(|error| format!("send: {error:?}"))
}

fn receive(connection: &Connection) -> Result<Message, String> {
    loop {
        match connection.receive() {
            Ok(Some(Message::Ping(_) | Message::Pong(_)) | None) => {}
            Ok(Some(message)) => return Ok(message),
            Err(error) => return Err(format!("receive: {error:?}")),
        }
    }
}

fn same<T: PartialEq + Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

fn text(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/echo"), &[], &[])?;
    for text in ["hello", "", "grüße, 世界, 🦀", &"ü".repeat(40_000)] {
        send(&connection, &Message::Text(text.to_owned()))?;
        match receive(&connection)? {
            Message::Text(back) if back == text => {}
            other => return Err(format!("{} bytes came back as {other:?}", text.len())),
        }
    }
    Ok(())
}

fn binary(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/echo"), &[], &[])?;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, LARGEST] {
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        send(&connection, &Message::Binary(data.clone()))?;
        match receive(&connection)? {
            Message::Binary(back) if back == data => {}
            _ => return Err(format!("{size} bytes came back as something else")),
        }
    }
    Ok(())
}

fn subprotocols(url: &str) -> Result<(), String> {
    let second = open(format!("{url}/echo"), &["first", "second"], &[])?;
    same(second.get_subprotocol().as_deref(), Some("second"))?;
    let none = open(format!("{url}/echo"), &["first", "third"], &[])?;
    same(none.get_subprotocol(), None)
}

fn headers(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/headers"), &[], &[("X-One", "1"), ("X-Two", "a"), ("X-Two", "b")])?;
    let Message::Text(seen) = receive(&connection)? else { return Err("no text came".to_owned()) };
    // A server or a proxy may join fields of one name.
    let values = |name: &str| -> Vec<&str> {
        let fields = seen.lines().filter_map(|line| line.split_once(": ")).filter(|(field, _)| *field == name);
        fields.flat_map(|(_, value)| value.split(',').map(str::trim)).collect()
    };
    same(values("x-one"), vec!["1"])?;
    same(values("x-two"), vec!["a", "b"])?;
    // Nobody asked for an extension.
    same(values("sec-websocket-extensions"), vec![])
}

fn fragments(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/fragments"), &[], &[])?;
    match receive(&connection)? {
        Message::Text(text) => same(text, "fragmented".to_owned()),
        other => Err(format!("{other:?}")),
    }
}

/// The server's pings are answered, and the host's keep a silent connection through proxies.
fn keep_alive(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/ping"), &[], &[])?;
    match receive(&connection)? {
        Message::Text(text) => same(text, "ponged".to_owned())?,
        other => return Err(format!("{other:?}")),
    }
    let begun = Instant::now();
    while begun.elapsed() < IDLE {
        match connection.receive() {
            Ok(None | Some(Message::Ping(_) | Message::Pong(_))) => {}
            other => return Err(format!("a silent connection gave {other:?}")),
        }
    }
    send(&connection, &Message::Text("still there".to_owned()))?;
    match receive(&connection)? {
        Message::Text(text) => same(text, "still there".to_owned()),
        other => Err(format!("{other:?}")),
    }
}

fn closed(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/close"), &[], &[])?;
    match receive(&connection)? {
        Message::Close(CloseInfo { code: 4321, reason: Some(reason) }) => same(reason, "grüße vom Server".to_owned())?,
        other => return Err(format!("{other:?}")),
    }
    match connection.receive() {
        Err(WebsocketError::ConnectionClosed) => Ok(()),
        other => Err(format!("after the close came {other:?}")),
    }
}

fn close(url: &str) -> Result<(), String> {
    let connection = open(format!("{url}/echo"), &[], &[])?;
    connection.close(Some(4123), Some("grüße vom Gast")).map_err(|error| format!("{error:?}"))?;
    match receive(&connection)? {
        // Not every server answers with the code that it got.
        Message::Close(_) => Ok(()),
        other => Err(format!("the close was answered with {other:?}")),
    }
}
