//! Two ends in memory: a text and its answer, a ping and its pong, and the closing handshake. A program with a socket
//! reads and writes where this one copies: `cargo run -p websocket-protocol --example ping_pong`.

use std::time::Instant;
use websocket_protocol::{Config, Connection, Message, MessageRef, Role};

/// Moves bytes both ways until neither end has any to send.
fn exchange(a: &mut Connection, b: &mut Connection, now: Instant) {
    while move_bytes(a, b, now) | move_bytes(b, a, now) {}
}

/// Moves what one end has to send. Returns whether there was anything.
fn move_bytes(from: &mut Connection, to: &mut Connection, now: Instant) -> bool {
    // Nothing more follows for now, so that a batch goes out.
    from.flush();
    let bytes = from.transmit().to_vec();
    from.transmitted(bytes.len());
    to.receive_bytes(&bytes, now);
    !bytes.is_empty()
}

fn main() {
    let now = Instant::now();
    // A program takes masks from a random generator: they must not be predictable (RFC 6455 section 5.3).
    let mut client = Connection::new(Config::new(Role::Client), Box::new(|| [1, 2, 3, 4]), now);
    let mut server = Connection::new(Config::new(Role::Server), Box::new(|| [0; 4]), now);

    // `Pending` would mean that the output is full: a program waits until some of it is written, and sends again.
    assert!(client.send(MessageRef::Text("ping?")).is_ready());
    assert!(client.send(MessageRef::Ping(b"1")).is_ready());
    exchange(&mut client, &mut server, now);
    while let Some(message) = server.try_receive() {
        println!("server: {message:?}");
        if let Message::Text(_) = message {
            assert!(server.send(MessageRef::Text("pong!")).is_ready());
        }
    }

    exchange(&mut client, &mut server, now);
    client.close(None, now);
    exchange(&mut client, &mut server, now);
    while let Some(message) = client.try_receive() {
        println!("client: {message:?}");
    }
    // The server ends the transport, and then the client does.
    client.input_ended();
    server.input_ended();
    println!("client: {:?}, server: {:?}", client.state(), server.state());
}
