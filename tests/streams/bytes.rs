//! Bytes that are known by where they are: a function of a seed and an offset.
//!
//! They are slices of one table, so that a gigabyte can be sent and compared without making it. The
//! table is entered elsewhere in each block, and the blocks have a prime length: what was lost,
//! doubled or moved by any length that a buffer or a page has does not go unnoticed.

use std::sync::LazyLock;

/// A prime, about 256 KiB.
const BLOCK: usize = 262_139;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    std::iter::repeat_with(|| random.next().to_le_bytes())
        .take(2 * BLOCK / 8 + 1)
        .flatten()
        .collect()
});

/// All bytes of one direction of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    seed: u64,
}

impl Bytes {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The bytes from `offset` on: at least one, at most `most`.
    pub fn at(self, offset: u64, most: usize) -> &'static [u8] {
        let (block, within) = (offset / BLOCK as u64, offset as usize % BLOCK);
        let entry = Random::new(self.seed ^ block).next() as usize % BLOCK;
        let end = BLOCK.min(within.saturating_add(most));
        &TABLE[entry + within..entry + end]
    }

    /// Where `received`, which came at `offset`, is wrong.
    pub fn first_error(self, offset: u64, received: &[u8]) -> Option<u64> {
        let mut at = 0;
        while at < received.len() {
            let expected = self.at(offset + at as u64, received.len() - at);
            let got = &received[at..at + expected.len()];
            if got != expected {
                let wrong = got.iter().zip(expected).position(|(a, b)| a != b);
                return Some(offset + (at + wrong.unwrap_or(0)) as u64);
            }
            at += expected.len();
        }
        None
    }
}

/// Numbers that look random and are the same for the same seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// From 0 to `most`; every order of magnitude is as likely as every other.
    pub fn magnitude(&mut self, most: u64) -> u64 {
        let bits = u64::from(u64::BITS - most.leading_zeros());
        let limit = 1u64 << self.below(bits + 1);
        self.below(limit.min(most) + 1)
    }
}

#[test]
fn a_byte_that_is_wrong_missing_or_doubled_is_found() {
    let bytes = Bytes::new(7);
    let mut stream = Vec::new();
    while stream.len() < 3 * BLOCK {
        stream.extend(bytes.at(stream.len() as u64, 1000));
    }
    assert_eq!(bytes.first_error(0, &stream), None);
    assert_eq!(bytes.first_error(9, &stream[9..]), None);
    for length in [1, 4096, 65536, BLOCK, 2 * BLOCK] {
        let missing = [&stream[..100], &stream[100 + length..]].concat();
        assert!(bytes.first_error(0, &missing).unwrap() >= 100);
        let doubled = [&stream[..100 + length], &stream[100..]].concat();
        assert!(bytes.first_error(0, &doubled).unwrap() >= 100 + length as u64);
    }
    stream[300_000] ^= 1;
    assert_eq!(bytes.first_error(0, &stream), Some(300_000));
}
