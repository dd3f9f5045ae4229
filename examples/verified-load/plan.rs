//! The plan of the two ends of a stream: a function of a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::bytes::{Bytes, Random};
use crate::options::Options;

/// One of this number of ends has a small receive buffer, so that the proxy has to hold data.
const SMALL_BUFFERS: u64 = 4;
/// Larger streams would take too long with it.
const SMALL_BUFFERS_UP_TO: u64 = 200_000;

/// The plan of a stream.
#[derive(Debug)]
pub struct Plan {
    pub client: Side,
    pub upstream: Side,
    /// The client resets it after this part of its data.
    pub reset_after: Option<u64>,
}

/// The plan of one end.
#[derive(Debug)]
pub struct Side {
    pub says: Bytes,
    pub amount: u64,
    /// Its largest write, in bytes.
    pub piece: usize,
    /// It receives to the end before it starts: the connection is half-closed until then.
    pub answers: bool,
    /// It ends only when both ends have received everything.
    pub ends_last: bool,
    pub write_pauses: Pauses,
    pub read_pauses: Pauses,
    /// The pause before it shuts down its writing side.
    pub before_end: Duration,
    pub receive_buffer: Option<usize>,
}

/// The positions and lengths of an end's pauses, in order.
pub type Pauses = Vec<(u64, Duration)>;

impl Plan {
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let up = amount(&options.sizes, &mut random);
        let down = amount(&options.sizes, &mut random);
        let mut plan = Self {
            client: Side::new(up, down, options.pause, &mut random),
            upstream: Side::new(down, up, options.pause, &mut random),
            reset_after: None,
        };
        match random.below(6) {
            0 => plan.client.answers = true,
            1 => plan.upstream.answers = true,
            _ => {}
        }
        if options.no_half_closes {
            for side in [&mut plan.client, &mut plan.upstream] {
                (side.answers, side.ends_last) = (false, true);
            }
        }
        if options.resets > 0 && random.once_in(options.resets) {
            plan.reset_after = Some(random.below(up + 1));
            plan.client.answers = false;
        }
        plan
    }
}

impl Side {
    fn new(amount: u64, hears: u64, longest_pause: u64, random: &mut Random) -> Self {
        let piece = match random.below(3) {
            0 => 1 + random.magnitude(20_000) as usize,
            _ => 256 * 1024,
        };
        let small = amount + hears <= SMALL_BUFFERS_UP_TO && random.once_in(SMALL_BUFFERS);
        Self {
            says: Bytes::new(random.next()),
            amount,
            // Small writes, with a system call for each, are for small streams.
            piece: piece.max((amount / 100) as usize),
            answers: false,
            ends_last: false,
            write_pauses: pauses(amount, longest_pause, random),
            read_pauses: pauses(hears, longest_pause, random),
            before_end: match random.below(3) {
                0 => Duration::from_millis(random.below(longest_pause + 1)),
                _ => Duration::ZERO,
            },
            receive_buffer: small.then(|| 8192 << random.below(3)),
        }
    }
}

/// All orders of magnitude are equally likely.
fn amount(sizes: &RangeInclusive<u64>, random: &mut Random) -> u64 {
    let (least, most) = (*sizes.start() as f64, *sizes.end() as f64);
    let part = random.below(1 << 32) as f64 / f64::from(u32::MAX);
    let amount = (least.ln() + part * (most / least).ln()).exp();
    (amount.round() as u64).clamp(*sizes.start(), *sizes.end())
}

fn pauses(amount: u64, longest: u64, random: &mut Random) -> Pauses {
    let count = random.below(4).saturating_sub(1);
    let mut pauses: Pauses = (0..count)
        .map(|_| {
            let time = Duration::from_millis(random.below(longest + 1));
            (random.below(amount + 1), time)
        })
        .collect();
    pauses.sort_unstable();
    pauses
}
