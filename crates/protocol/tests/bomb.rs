//! A small message that inflates to far more than the limit costs a buffer of twice the limit at most. The test is alone in its
//! process, because it measures the heap.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use bytes::BytesMut;
use std::time::Instant;
use websocket_protocol::{
    Config, Connection, Role,
    connection::State,
    deflate::{Compressor, MemoryBudget, Offer, Options},
    frame::{FrameHeader, Opcode},
};

/// Counts what is allocated, and its peak.
#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const LIMIT: usize = 2 << 20;
const INFLATED: usize = 1 << 30;
/// What it may cost beside the message: the inflater and its window, and what has been read of the compressed message.
const BESIDE: usize = 256 << 10;

/// The frame of a compressed message of zeros.
fn bomb() -> Vec<u8> {
    const PIECE: usize = 1 << 20;
    let mut piece = BytesMut::new();
    Compressor::new(15, 6, false).piece(&vec![0; PIECE], true, &mut piece);
    // The end of each piece, which RFC 7692 removes from the last (section 7.2.1).
    let payload = [&piece[..], &[0, 0, 0xFF, 0xFF]].concat().repeat(INFLATED / PIECE);
    let payload = &payload[..payload.len() - 4];
    let mut frame = vec![0x80 | 0x40 | Opcode::Binary as u8, 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    assert!(frame.len() < LIMIT && FrameHeader::parse(&frame).unwrap().is_some());
    frame
}

#[test]
fn a_bomb_is_answered_with_1009_and_costs_at_most_twice_the_limit() {
    let bomb = bomb();
    let budget = MemoryBudget::new(1 << 20);
    let offer = Offer::new(Options::default(), &budget);
    let compression = offer.accept(["permessage-deflate; server_no_context_takeover".as_bytes()]).unwrap().unwrap();
    let mut config = Config::new(Role::Client);
    config.max_message_size = LIMIT;
    let now = Instant::now();
    let mut connection = Connection::new(config, Box::new(|| [0; 4]), now).with_compression(compression);
    let _profiler = dhat::Profiler::builder().testing().build();
    for piece in bomb.chunks(16 << 10) {
        connection.receive_bytes(piece, now);
    }
    let peak = dhat::HeapStats::get().max_bytes;
    // A buffer that is full doubles, also for the one byte that exceeds the limit. The rest of it is never written.
    assert!((LIMIT..2 * LIMIT + BESIDE).contains(&peak), "{peak} bytes");
    assert_ne!(connection.state(), State::Open);
    assert_eq!(&connection.transmit()[..2], [0x88, 0x80 | 2]);
    assert_eq!(connection.transmit()[6..8], 1009_u16.to_be_bytes());
}
