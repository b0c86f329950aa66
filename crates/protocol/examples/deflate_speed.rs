//! The time and the ratio of compressing and inflating JSON messages, for docs/decisions/0009-deflate-backend.md.

use bytes::BytesMut;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Instant;
use websocket_protocol::deflate::{Compressor, Inflater};

/// How often each measurement is repeated. The shortest time counts.
const REPEATS: usize = 15;

fn main() {
    println!("| bytes | level | window bits | context takeover | compress, ns | inflate, ns | ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut random = StdRng::seed_from_u64(1);
    for (size, count) in [(1 << 10, 1000), (64 << 10, 30)] {
        let messages: Vec<_> = (0..count).map(|_| message(size, &mut random)).collect();
        for (level, bits) in [(1, 15), (2, 15), (4, 15), (6, 15), (6, 12), (9, 15)] {
            for takeover in [false, true] {
                measure(&messages, level, bits, takeover);
            }
        }
    }
}

fn measure(messages: &[Vec<u8>], level: u8, bits: u8, takeover: bool) {
    let (mut compress, mut inflate, mut size) = (f64::MAX, f64::MAX, 0);
    for _ in 0..REPEATS {
        let mut compressor = Compressor::new(bits, level, takeover);
        let mut compressed = vec![BytesMut::with_capacity(messages[0].len()); messages.len()];
        let start = Instant::now();
        for (message, output) in messages.iter().zip(&mut compressed) {
            assert!(compressor.message(message, output));
        }
        compress = compress.min(start.elapsed().as_secs_f64());
        size = compressed.iter().map(BytesMut::len).sum();
        let (mut inflater, mut output) = (Inflater::new(bits, takeover), BytesMut::new());
        let start = Instant::now();
        for message in &compressed {
            output.clear();
            let is_whole = inflater.inflate(&mut &message[..], usize::MAX, &mut output).is_ok()
                && inflater.finish(usize::MAX, &mut output).is_ok();
            assert!(is_whole);
        }
        inflate = inflate.min(start.elapsed().as_secs_f64());
    }
    let each = |seconds: f64| seconds * 1e9 / messages.len() as f64;
    let (bytes, ratio) = (messages[0].len(), size as f64 / messages.concat().len() as f64);
    let (compress, inflate) = (each(compress), each(inflate));
    println!("| {bytes} | {level} | {bits} | {takeover} | {compress:.0} | {inflate:.0} | {ratio:.3} |");
}

/// Trades as a market sends them: the same keys, and values that differ.
fn message(size: usize, random: &mut StdRng) -> Vec<u8> {
    let users = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    let symbols = ["BTC-USD", "ETH-USD", "SOL-EUR", "XRP-USDT"];
    let mut text = r#"{"type":"update","channel":"trades","items":["#.to_owned();
    while text.len() < size {
        text.push_str(&format!(
            r#"{{"id":{},"user":"{}","symbol":"{}","side":"{}","price":{}.{:02},"quantity":0.{:05},"time":"2026-11-27T04:{:02}:{:02}.{:03}Z","tags":["t{}","x"]}},"#,
            random.random_range(0..100_000_000),
            users[random.random_range(0..users.len())],
            symbols[random.random_range(0..symbols.len())],
            if random.random_bool(0.5) { "buy" } else { "sell" },
            random.random_range(0..70_000),
            random.random_range(0..100),
            random.random_range(0..100_000),
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..1000),
            random.random_range(0..50),
        ));
    }
    text.truncate(size - 2);
    text.push_str("]}");
    text.into_bytes()
}
