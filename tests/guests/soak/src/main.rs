//! Two ways to talk for long. `soak churn URL COUNT` opens and closes connections, one after the other.
//! `soak traffic URL NUMBER SECONDS` sends and receives numbered messages, opens a connection anew whenever one
//! ends, and says of each: `life NUMBER LIFE SENT RECEIVED END`. It panics where a message is not the one that
//! is due.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:soak/soak", generate_all });

#[path = "../../../src/soak_message.rs"]
mod soak_message;

use soak_message::{Rng, content, is_text};
use std::time::{Duration, Instant};
use wasmcloud::websocket::{
    client::{ClientConfig, Connection, connect},
    types::{Message, WebsocketError as Error},
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match args[..] {
        ["churn", url, count] => churn(url, number(count)),
        ["traffic", url, guest, seconds] => traffic(url, number(guest), Duration::from_secs(number(seconds))),
        _ => panic!("usage: soak churn URL COUNT, or soak traffic URL NUMBER SECONDS"),
    }
}

fn open(url: String) -> Result<Connection, Error> {
    connect(&ClientConfig {
        url,
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    })
}

/// The next text or binary message, or why there is none.
fn receive(connection: &Connection) -> Result<Message, String> {
    loop {
        match connection.receive() {
            Ok(None | Some(Message::Ping(_) | Message::Pong(_))) => {}
            Ok(Some(Message::Close(info))) => return Err(format!("close-{}", info.code)),
            Ok(Some(message)) => return Ok(message),
            Err(error) => return Err(name(&error).to_owned()),
        }
    }
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::ConnectionFailed(_) => "connection-failed",
        Error::InvalidUrl(_) => "invalid-url",
        Error::ProtocolError(_) => "protocol-error",
        Error::ConnectionClosed => "connection-closed",
        Error::AuthenticationFailed(_) => "authentication-failed",
        Error::Timeout => "timeout",
        Error::InvalidMessage(_) => "invalid-message",
        Error::IoError(_) => "io-error",
    }
}

fn churn(url: &str, count: u64) {
    for done in 1..=count {
        let connection = open(url.to_owned()).expect("the server is there");
        let text = done.to_string();
        connection.send(&Message::Text(text.clone())).expect("it is open");
        match receive(&connection) {
            Ok(Message::Text(back)) if back == text => {}
            other => panic!("{other:?} came back instead of {text}"),
        }
        connection.close(Some(1000), None).expect("it may be closed");
        assert_eq!(receive(&connection).unwrap_err(), "close-1000");
        if done % (count / 20).max(1) == 0 {
            println!("done {done}");
        }
    }
}

fn traffic(url: &str, guest: u64, time: Duration) {
    let begun = Instant::now();
    let mut rng = Rng::new(guest);
    for life in 0.. {
        let (mut sent, mut received) = (0, 0);
        let end = match open(format!("{url}?{guest}-{life}")) {
            Ok(connection) => live(&connection, &mut rng, begun + time, &mut sent, &mut received),
            Err(error) => name(&error).to_owned(),
        };
        println!("life {guest} {life} {sent} {received} {end}");
        if begun.elapsed() >= time {
            return;
        }
    }
}

/// Talks until the connection ends, or closes it when it is time; gives how it ended.
fn live(connection: &Connection, rng: &mut Rng, until: Instant, sent: &mut u64, received: &mut u64) -> String {
    let mut closes = false;
    loop {
        for _ in 0..=rng.below(8) {
            let data = content(*sent);
            let message = match is_text(*sent) {
                true => Message::Text(String::from_utf8(data).expect("its text is UTF-8")),
                false => Message::Binary(data),
            };
            match connection.send(&message) {
                Ok(()) => *sent += 1,
                // What came before is still to be received.
                Err(_) => break,
            }
        }
        // Some guests are slow.
        if rng.below(20) == 0 {
            std::thread::sleep(Duration::from_millis(rng.below(50)));
        }
        if !closes && (Instant::now() >= until || rng.below(200) == 0) {
            connection.close(Some(1000), Some("enough")).expect("it may be closed");
            closes = true;
        }
        while closes || received < sent {
            match receive(connection) {
                Ok(message) => {
                    let (text, data) = match message {
                        Message::Text(text) => (true, text.into_bytes()),
                        Message::Binary(data) => (false, data),
                        other => panic!("{other:?}"),
                    };
                    assert!(text == is_text(*received) && data == content(*received), "not the message {received}");
                    *received += 1;
                }
                Err(end) => return end,
            }
        }
    }
}
