//! The processor time of one message to many clients, with `Connection::send` for each client, and prepared once for all.

use std::{error::Error, task::Poll, time::Instant};
use websocket_protocol::{
    Config, MessageRef, Role,
    connection::{Connection, Sent},
    deflate::{self, MemoryBudget, Options},
    message::PreparedMessage,
};

const CLIENTS: usize = 1000;
/// How many messages are broadcast in one measurement, and how often it is repeated. The shortest time counts.
const MESSAGES: usize = 5;
const REPEATS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    println!("| bytes | compressed | a send for each client, ns | prepared, ns |");
    println!("| --- | --- | --- | --- |");
    for size in [64, 1 << 10, 64 << 10] {
        for is_compressed in [false, true] {
            let mut clients: Vec<Connection> =
                (0..CLIENTS).map(|_| connection(is_compressed)).collect::<Result<_, _>>()?;
            let (mut each, mut prepared) = (f64::MAX, f64::MAX);
            for _ in 0..REPEATS {
                each = each.min(measure(&mut clients, size, |client, text, _| client.send(MessageRef::Text(text))));
                prepared =
                    prepared.min(measure(&mut clients, size, |client, _, message| client.send_prepared(message)));
            }
            println!("| {size} | {is_compressed} | {each:.0} | {prepared:.0} |");
        }
    }
    Ok(())
}

/// A server's end, without context takeover if it compresses.
fn connection(is_compressed: bool) -> Result<Connection, Box<dyn Error>> {
    let connection = Connection::new(Config::new(Role::Server), Box::new(|| [1, 2, 3, 4]), Instant::now());
    if !is_compressed {
        return Ok(connection);
    }
    let answer = deflate::answer([&b"permessage-deflate"[..]], Options::default(), &MemoryBudget::new(0))?;
    Ok(connection.with_compression(answer.ok_or("the offer is declined")?.compression))
}

/// Nanoseconds for each client and message. Preparing the message is part of it; writing to a socket is not.
fn measure<E>(
    clients: &mut [Connection],
    size: usize,
    mut send: impl FnMut(&mut Connection, &str, &PreparedMessage) -> Poll<Result<Sent, E>>,
) -> f64 {
    let began = Instant::now();
    for number in 0..MESSAGES {
        let text = text(size, number);
        let message = PreparedMessage::text(text.clone());
        for client in &mut *clients {
            assert!(matches!(send(client, &text, &message), Poll::Ready(Ok(_))));
            client.flush();
            let written = client.transmit().len();
            client.transmitted(written);
        }
    }
    began.elapsed().as_secs_f64() * 1e9 / (MESSAGES * CLIENTS) as f64
}

/// Trades as a market sends them.
fn text(size: usize, number: usize) -> String {
    let mut text = String::new();
    while text.len() < size {
        let id = (text.len() + number) * 2_654_435_761 % 99_999_989;
        text.push_str(&format!(r#"{{"id":{id},"symbol":"BTC-USD","side":"buy","price":{}.5}},"#, id % 70_000));
    }
    text.truncate(size);
    text
}
