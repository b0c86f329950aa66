//! The messages of the soak test: a number determines a whole message, so that a receiver can identify it.
//! The guest includes this file.

/// A generator of numbers that are random enough (xorshift64*), and the same for the same seed.
pub struct Rng(u64);

impl Rng {
    /// A generator.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number under this one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// Whether the message of this number is text.
pub fn is_text(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// The payload of the message of this number: mostly short, at times empty, rarely up to a mebibyte. One of the
/// first is that long, so that whoever talks has soon the memory that it needs.
pub fn content(number: u64) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let length = match rng.below(500) {
        _ if number == 7 => 1 << 20,
        0 => rng.below((1 << 20) + 1),
        1..=20 => rng.below(16_000),
        21..=40 => 0,
        _ => rng.below(200),
    } as usize;
    let mut data = number.to_string().into_bytes();
    data.extend((0..length).map(|at| b'a' + (at % 23) as u8));
    data.truncate(length);
    data
}
