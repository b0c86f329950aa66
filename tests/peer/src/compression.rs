//! What a peer may do with compression (permessage-deflate, RFC 7692), and what it may not do.

/// The answer of a server that agrees to compress without context takeover.
pub const COMPRESSION: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Answers to a client that offers compression without context takeover. Each of them fails the opening handshake.
pub const INVALID_ANSWERS: [&str; 18] = [
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=09",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=\"\"",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits=7",
    "permessage-deflate; server_no_context_takeover; unknown",
    "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover, x-webkit-deflate-frame",
    "permessage-bzip2",
    "permessage-deflate;; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover=\"",
];

/// "Hello", as RFC 7692 section 7.2.3.1 compresses it.
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
/// "Hello" in a final block (section 7.2.3.4), without the byte that is to follow it.
const FINAL_HELLO: [u8; 7] = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
/// A whole empty block.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xFF, 0xFF];

/// A use of compression that was negotiated without context takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionCase {
    /// 64 MiB of zeros.
    Bomb,
    /// 64 MiB of zeros in fragments.
    BombInFragments,
    /// Compression is marked on a continuation.
    MarkedContinuation,
    /// Compression is marked on a ping.
    MarkedPing,
    /// Compression is marked on a close frame.
    MarkedClose,
    /// The second reserved bit is set.
    SecondReservedBit,
    /// The third reserved bit is set.
    ThirdReservedBit,
    /// The first and the second reserved bit are set.
    FirstTwoReservedBits,
    /// A message ends within a block.
    CutBlock,
    /// A block has the reserved type.
    ReservedBlockType,
    /// The two lengths of an uncompressed block do not match.
    WrongLength,
    /// A block refers to bytes before the first one.
    TooFarBack,
    /// A message refers to the message before.
    ReferenceToEarlierMessage,
    /// Invalid data follows a final block.
    TrailingGarbage,
    /// The four bytes that end each message are sent, so that a block begins behind them that does not end.
    TailSent,
    /// The text is not UTF-8.
    InvalidText,
    /// The message is not compressed.
    Uncompressed,
    /// A message without any data.
    NoData,
    /// One empty block.
    EmptyBlock,
    /// A megabyte of empty blocks before the text.
    EmptyBlocks,
    /// Thousands of fragments that are empty blocks, or have no bytes, before the text.
    EmptyFragments,
    /// A block without compression.
    StoredBlock,
    /// Two blocks.
    TwoBlocks,
    /// A final block.
    FinalBlock,
    /// A final block, without the byte that is to follow it.
    BareFinalBlock,
    /// A final block that is cut into two fragments.
    FinalBlockInFragments,
    /// Two final blocks.
    TwoFinalBlocks,
    /// A message after a final block.
    MessageAfterFinalBlock,
}

impl CompressionCase {
    /// Every case.
    pub const ALL: [CompressionCase; 28] = {
        use CompressionCase::*;
        [
            Bomb,
            BombInFragments,
            MarkedContinuation,
            MarkedPing,
            MarkedClose,
            SecondReservedBit,
            ThirdReservedBit,
            FirstTwoReservedBits,
            CutBlock,
            ReservedBlockType,
            WrongLength,
            TooFarBack,
            ReferenceToEarlierMessage,
            TrailingGarbage,
            TailSent,
            InvalidText,
            Uncompressed,
            NoData,
            EmptyBlock,
            EmptyBlocks,
            EmptyFragments,
            StoredBlock,
            TwoBlocks,
            FinalBlock,
            BareFinalBlock,
            FinalBlockInFragments,
            TwoFinalBlocks,
            MessageAfterFinalBlock,
        ]
    };

    /// The frames that the peer sends: the first byte of each, and its payload.
    pub fn frames(self) -> Vec<(u8, Vec<u8>)> {
        use CompressionCase::*;
        let compressed = |payload: &[u8]| vec![(0xC1, payload.to_vec())];
        match self {
            Bomb => vec![(0xC2, zeros(64 << 20))],
            BombInFragments => {
                let bomb = zeros(64 << 20);
                let fragments = bomb.chunks(1000).map(|fragment| (0x00, fragment.to_vec()));
                [(0x42, vec![])].into_iter().chain(fragments).chain([(0x80, vec![])]).collect()
            }
            MarkedContinuation => vec![(0x41, HELLO[..3].to_vec()), (0xC0, HELLO[3..].to_vec())],
            MarkedPing => vec![(0xC9, vec![])],
            MarkedClose => vec![(0xC8, vec![])],
            SecondReservedBit => vec![(0xA1, HELLO.to_vec())],
            ThirdReservedBit => vec![(0x91, HELLO.to_vec())],
            FirstTwoReservedBits => vec![(0xE1, HELLO.to_vec())],
            CutBlock => compressed(&HELLO[..3]),
            ReservedBlockType => compressed(&[0x06]),
            WrongLength => compressed(b"\x00\x05\x00\xFA\xFEHello\x00"),
            TooFarBack => compressed(&too_far_back()),
            // RFC 7692 section 7.2.3.2.
            ReferenceToEarlierMessage => vec![(0xC1, HELLO.to_vec()), (0xC1, vec![0xF2, 0x00, 0x11, 0x00, 0x00])],
            TrailingGarbage => compressed(&[&FINAL_HELLO[..], &[0xDE, 0xAD, 0xBE, 0xEF]].concat()),
            TailSent => compressed(&[&HELLO[..], &EMPTY_BLOCK[1..]].concat()),
            InvalidText => compressed(b"\x00\x01\x00\xFE\xFF\xFF\x00"),
            Uncompressed => vec![(0x81, b"Hello".to_vec())],
            NoData => compressed(&[]),
            EmptyBlock => compressed(&[0x00]),
            EmptyBlocks => compressed(&[EMPTY_BLOCK.repeat(200_000), HELLO.to_vec()].concat()),
            EmptyFragments => {
                let fragments = [(0x00, vec![]), (0x00, EMPTY_BLOCK.to_vec())].into_iter().cycle().take(10_000);
                [(0x41, vec![])].into_iter().chain(fragments).chain([(0x80, HELLO.to_vec())]).collect()
            }
            StoredBlock => compressed(b"\x00\x05\x00\xFA\xFFHello\x00"),
            // RFC 7692 section 7.2.3.5.
            TwoBlocks => compressed(&[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00]),
            FinalBlock => compressed(&[&FINAL_HELLO[..], &[0]].concat()),
            BareFinalBlock => compressed(&FINAL_HELLO),
            FinalBlockInFragments => vec![(0x41, FINAL_HELLO[..3].to_vec()), (0x80, FINAL_HELLO[3..].to_vec())],
            TwoFinalBlocks => compressed(&[&FINAL_HELLO[..], &FINAL_HELLO, &[0]].concat()),
            MessageAfterFinalBlock => vec![(0xC1, FINAL_HELLO.to_vec()), (0xC1, HELLO.to_vec())],
        }
    }

    /// The text messages that are received, and the code of the close frame that follows if this violates the protocol.
    pub fn outcome(self) -> (&'static [&'static str], Option<u16>) {
        use CompressionCase::*;
        match self {
            Bomb | BombInFragments => (&[], Some(1009)),
            MarkedContinuation | MarkedPing | MarkedClose => (&[], Some(1002)),
            SecondReservedBit | ThirdReservedBit | FirstTwoReservedBits => (&[], Some(1002)),
            CutBlock | ReservedBlockType | WrongLength | TooFarBack => (&[], Some(1007)),
            TrailingGarbage | TailSent | InvalidText => (&[], Some(1007)),
            ReferenceToEarlierMessage => (&["Hello"], Some(1007)),
            NoData | EmptyBlock => (&[""], None),
            Uncompressed | EmptyBlocks | EmptyFragments | StoredBlock | TwoBlocks => (&["Hello"], None),
            FinalBlock | BareFinalBlock | FinalBlockInFragments => (&["Hello"], None),
            TwoFinalBlocks => (&["HelloHello"], None),
            MessageAfterFinalBlock => (&["Hello", "Hello"], None),
        }
    }
}

/// Writes DEFLATE data bit by bit (RFC 1951 section 3.1.1).
#[derive(Default)]
struct BitWriter {
    bits: u64,
    count: u32,
    bytes: Vec<u8>,
}

impl BitWriter {
    fn put(&mut self, value: u64, width: u32) {
        self.bits |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.bits as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    /// Begins a block of the fixed code that is not final.
    fn begin(&mut self) {
        self.put(0b010, 3);
    }

    /// A match of 258 bytes at the distance 1. The length's code is 11000101, first bit first.
    fn repeat(&mut self) {
        self.put(0b1010_0011, 8);
        self.put(0, 5);
    }

    /// Ends the block, and begins an empty one without compression, as far as the tail that is not sent.
    fn end(mut self) -> Vec<u8> {
        self.put(0, 7);
        self.put(0, 3);
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.bytes
    }
}

/// DEFLATE data of so many zeros, in one block.
pub fn zeros(length: usize) -> Vec<u8> {
    let mut writer = BitWriter::default();
    writer.begin();
    // The literal 0, whose code is 00110000, first bit first.
    writer.put(0b0000_1100, 8);
    for _ in 0..length / 258 {
        writer.repeat();
    }
    writer.end()
}

fn too_far_back() -> Vec<u8> {
    let mut writer = BitWriter::default();
    writer.begin();
    writer.repeat();
    writer.end()
}
