//! What goes over a connection, byte by byte.

use std::io::{self, Read, Write};

/// A small generator, so that a run can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What goes over a connection.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub up: u64,
    pub down: u64,
    /// The number of small messages and their echoes, instead of two streams.
    pub messages: u64,
}

impl Plan {
    pub fn random(random: &mut Random) -> Self {
        let mut length = || match random.below(4) {
            0 => random.below(100),
            1 => random.below(20_000),
            2 => random.below(300_000),
            _ => random.below(3_000_000),
        };
        let (up, down) = (length(), length());
        let messages = match random.below(3) {
            0 => 1 + random.below(3000),
            _ => 0,
        };
        Self {
            seed: random.next(),
            up,
            down,
            messages,
        }
    }

    /// A few bytes, and no more.
    pub fn small(random: &mut Random) -> Self {
        Self {
            seed: random.next(),
            up: random.below(50),
            down: 1 + random.below(50),
            messages: 0,
        }
    }

    pub fn header(&self) -> Vec<u8> {
        let words = [self.seed, self.up, self.down, self.messages];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub fn of(header: [u8; 32]) -> Self {
        let word = |index: usize| u64::from_le_bytes(header[index * 8..][..8].try_into().unwrap());
        Self {
            seed: word(0),
            up: word(1),
            down: word(2),
            messages: word(3),
        }
    }
}

/// The header of a plan of small messages.
pub fn echo_header(messages: u64) -> Vec<u8> {
    let plan = Plan {
        seed: 0,
        up: 0,
        down: 0,
        messages,
    };
    plan.header()
}

/// The length of a small message, in bytes.
pub const MESSAGE: usize = 100;

pub fn fill(seed: u64, from: u64, bytes: &mut [u8]) {
    for (offset, byte) in (from..).zip(bytes) {
        *byte =
            ((seed ^ (offset >> 3)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (offset % 8 * 7)) as u8;
    }
}

pub fn write_stream(mut to: impl Write, seed: u64, length: u64) -> io::Result<()> {
    let mut at = 0;
    let mut bytes = [0; 16 * 1024];
    while at < length {
        let count = bytes.len().min((length - at) as usize);
        fill(seed, at, &mut bytes[..count]);
        to.write_all(&bytes[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// Reads to the end; the error is what is wrong with the bytes.
pub fn read_stream(
    mut from: impl Read,
    seed: u64,
    length: u64,
    mut each: impl FnMut(),
) -> Result<(), String> {
    let mut at = 0;
    let (mut bytes, mut wanted) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) if at == length => return Ok(()),
            Ok(0) => return Err(format!("end after {at} of {length} bytes")),
            Ok(count) => count,
            Err(error) => return Err(format!("after {at} of {length} bytes: {error}")),
        };
        each();
        fill(seed, at, &mut wanted[..count]);
        if bytes[..count] != wanted[..count] {
            let wrong = bytes.iter().zip(&wanted).position(|(a, b)| a != b);
            return Err(format!(
                "corrupt at {} of {length}",
                at + wrong.unwrap_or(0) as u64
            ));
        }
        at += count as u64;
    }
}
