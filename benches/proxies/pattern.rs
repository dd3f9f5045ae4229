//! What is sent, such that the receiver can check it: everything is a piece of one long pattern.

use std::sync::LazyLock;

/// Bytes after which the pattern starts again: prime, so that no power of two divides it.
pub const PERIOD: usize = 1_000_003;
/// The longest piece that [`piece`] gives.
pub const LONGEST: usize = 256 * 1024;
/// Every request is this long.
pub const REQUEST: usize = 64;
/// The longest reply; the shortest is as long as a request.
pub const LONGEST_REPLY: usize = 1024;

/// Bytes at the start of a request that say what is wanted; the rest is a piece of the pattern.
const HEADER: usize = 8;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(1);
    let mut pattern: Vec<u8> = (0..PERIOD).map(|_| random.next() as u8).collect();
    pattern.extend_from_within(..LONGEST);
    pattern
});

/// The piece of the endless pattern at `offset`; `length` is at most [`LONGEST`].
pub fn piece(offset: usize, length: usize) -> &'static [u8] {
    let start = offset % PERIOD;
    &PATTERN[start..start + length]
}

/// Whether a received piece of a long stream belongs at `offset`: its first and its last bytes,
/// which is enough to see one that is lost, doubled or out of order.
pub fn belongs(received: &[u8], offset: usize) -> bool {
    const ENDS: usize = 32;
    let expected = piece(offset, received.len());
    let (head, tail) = (
        ENDS.min(received.len()),
        received.len().saturating_sub(ENDS),
    );
    received[..head] == expected[..head] && received[tail..] == expected[tail..]
}

/// How requests and replies are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A request is as long as every other, a reply as the request wants it.
    Plain,
    /// [`crate::http`]
    Http,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The piece of the pattern at `offset`.
    Piece {
        /// Where in the pattern.
        offset: usize,
        /// Bytes.
        length: usize,
    },
    /// The whole pattern, again and again until the connection is closed.
    Endless,
}

impl Request {
    /// A request for a reply of some length between the shortest and the longest.
    pub fn any(random: &mut Random) -> Self {
        Self::Piece {
            offset: random.next() as usize % PERIOD,
            length: REQUEST + random.next() as usize % (LONGEST_REPLY - REQUEST + 1),
        }
    }

    /// As it is sent.
    pub fn encode(self) -> [u8; REQUEST] {
        let (offset, length) = match self {
            Self::Piece { offset, length } => (offset, length),
            Self::Endless => (0, 0),
        };
        let mut bytes = [0; REQUEST];
        bytes[..4].copy_from_slice(&(offset as u32).to_be_bytes());
        bytes[4..HEADER].copy_from_slice(&(length as u32).to_be_bytes());
        bytes[HEADER..].copy_from_slice(piece(offset, REQUEST - HEADER));
        bytes
    }

    /// What was received, unless it is not what a client has sent.
    pub fn decode(bytes: &[u8; REQUEST]) -> Option<Self> {
        let number = |at: usize| -> Option<usize> {
            let bytes = bytes[at..at + 4].try_into().ok()?;
            Some(u32::from_be_bytes(bytes) as usize)
        };
        let (offset, length) = (number(0)?, number(4)?);
        let right = length <= LONGEST_REPLY && bytes[HEADER..] == *piece(offset, REQUEST - HEADER);
        right.then_some(match length {
            0 => Self::Endless,
            _ => Self::Piece { offset, length },
        })
    }
}

/// Pseudo-random numbers, the same in every run (xorshift64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number, of 32 bits.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}
