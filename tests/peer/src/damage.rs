//! Damage to files, as disks, networks and people do it.

/// The size of a page of most file systems and databases.
const PAGE: usize = 4096;

/// A generator of numbers that looks random, and is the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// A range within so many bytes, short ones more often.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let longest = 1 << self.below(length.max(1).ilog2() as usize + 1);
        let start = self.below(length);
        start..(start + 1 + self.below(longest)).min(length)
    }
}

/// These bytes, damaged: bits and bytes changed, ranges overwritten, zeroed, copied elsewhere or lost, pages swapped or all
/// scrambled, the end cut off or something added. The same seed damages the same bytes in the same way.
pub fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut chance = Chance(seed);
    let mut damaged = bytes.to_vec();
    let length = bytes.len();
    if length == 0 {
        return vec![chance.byte()];
    }
    match chance.below(11) {
        0 => damaged[chance.below(length)] ^= 1 << chance.below(8),
        1 => {
            for _ in 0..=chance.below(32) {
                damaged[chance.below(length)] = chance.byte();
            }
        }
        2 => chance.range(length).for_each(|at| damaged[at] = chance.byte()),
        3 => damaged[chance.range(length)].fill(0),
        4 => damaged[chance.range(length)].fill(0xff),
        5 => damaged.truncate(chance.below(length)),
        6 => damaged.extend((0..=chance.below(2 * PAGE)).map(|_| chance.byte())),
        7 => drop(damaged.drain(chance.range(length))),
        8 => {
            let range = chance.range(length);
            let to = chance.below(length - range.len() + 1);
            damaged.copy_within(range, to);
        }
        9 => {
            let (one, other) = (chance.below(length / PAGE), chance.below(length / PAGE));
            swap(&mut damaged, one, other);
        }
        // The first page says what the file is: the others are scrambled.
        _ => (1..length / PAGE).for_each(|page| swap(&mut damaged, page, page + chance.below(length / PAGE - page))),
    }
    damaged
}

fn swap(bytes: &mut [u8], one: usize, other: usize) {
    for at in 0..PAGE.min(bytes.len()) {
        let (one, other) = (one * PAGE + at, other * PAGE + at);
        if one.max(other) < bytes.len() {
            bytes.swap(one, other);
        }
    }
}
