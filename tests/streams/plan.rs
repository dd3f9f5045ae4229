//! What the two ends of one connection are going to do: a function of a seed.

use crate::bytes::{Bytes, Random};

/// A connection from its begin to its end.
#[derive(Clone, Debug)]
pub struct Plan {
    pub client: Side,
    pub upstream: Side,
}

/// What one end does.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it sends.
    pub says: Bytes,
    /// How much of it.
    pub amount: u64,
    pub writes: Writes,
    /// The most it receives at a time.
    pub read_size: usize,
    /// It stops reading here until the other end cannot write any more, or has written everything.
    pub stalls: Vec<u64>,
    /// Its socket's buffers are as small as the kernel allows.
    pub tiny_window: bool,
    /// It receives until the other end has sent everything, and only then begins.
    pub answers: bool,
    pub ending: Ending,
}

/// How it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// As much at a time as the socket takes.
    Bulk,
    /// At most so much at a time.
    Pieces(usize),
    /// One byte at a time.
    Single,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It shuts down its writing side, and listens to the end.
    HalfClose,
    /// Once both have received everything, both close at once, without a word before.
    CloseTogether,
    /// It resets the connection after so many bytes.
    Reset(u64),
    /// It shuts down its writing side after its bytes, and resets after this number was received.
    HalfCloseThenReset(u64),
}

impl Plan {
    /// Both ends send this number of bytes, as fast as they can.
    pub fn bulk(seed: u64, up: u64, down: u64) -> Self {
        let side = |seed, amount| Side {
            says: Bytes::new(seed),
            amount,
            writes: Writes::Bulk,
            read_size: 256 * 1024,
            stalls: Vec::new(),
            tiny_window: false,
            answers: false,
            ending: Ending::HalfClose,
        };
        let mut random = Random::new(seed);
        Self {
            client: side(random.next(), up),
            upstream: side(random.next(), down),
        }
    }

    /// Anything that two peers may do without breaking the connection.
    pub fn orderly(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut amount = || match random.below(200) {
            0 => random.below(5_000_000),
            1..20 => random.magnitude(1_000_000),
            _ => random.magnitude(100_000),
        };
        let (up, down) = (amount(), amount());
        let mut plan = Self::bulk(random.next(), up, down);
        for (side, heard) in [(&mut plan.client, down), (&mut plan.upstream, up)] {
            side.vary(heard, &mut random);
        }
        if random.once_in(8) {
            plan.client.ending = Ending::CloseTogether;
            plan.upstream.ending = Ending::CloseTogether;
        } else {
            match random.below(8) {
                0 => plan.client.answers = true,
                1 => plan.upstream.answers = true,
                _ => {}
            }
        }
        // A system call for every few bytes is for plans with few bytes.
        plan.client.slow_down(&mut random);
        plan.upstream.slow_down(&mut random);
        if up + down <= 50_000 {
            plan.client.tiny_window = random.once_in(8);
            plan.upstream.tiny_window = random.once_in(8);
        }
        plan
    }

    /// The same, with one or both ends that break it.
    pub fn any(seed: u64) -> Self {
        let mut plan = Self::orderly(seed);
        let mut random = Random::new(seed ^ 0x5eed);
        if plan.client.ending == Ending::CloseTogether || !random.once_in(3) {
            return plan;
        }
        let which = random.below(5);
        if which < 3 {
            plan.client.breaks(plan.upstream.amount, &mut random);
        }
        // An upstream breaks the connection once it has heard something.
        if which > 1 && plan.client.amount > 0 && !plan.client.answers {
            plan.upstream.breaks(plan.client.amount, &mut random);
        }
        plan
    }
}

impl Side {
    fn vary(&mut self, heard: u64, random: &mut Random) {
        self.writes = match random.below(3) {
            0 => Writes::Pieces(1 + random.below(20_000) as usize),
            _ => Writes::Bulk,
        };
        if random.once_in(2) {
            self.read_size = 1000 + random.magnitude(100_000) as usize;
        }
        let stalls = random.magnitude(4);
        self.stalls = (0..stalls).map(|_| random.below(heard + 1)).collect();
        self.stalls.sort_unstable();
    }

    fn slow_down(&mut self, random: &mut Random) {
        if self.amount <= 1000 && random.once_in(6) {
            self.writes = Writes::Single;
        }
    }

    fn breaks(&mut self, heard: u64, random: &mut Random) {
        self.ending = match random.below(3) {
            0 => Ending::HalfCloseThenReset((1 + random.below(heard + 1)).min(heard)),
            _ => Ending::Reset(random.below(self.amount + 1)),
        };
    }
}
