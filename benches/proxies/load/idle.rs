//! Connections that were used once and are then held.

use std::thread;
use std::time::{Duration, Instant};

use super::{Destination, PATIENCE, exchange, open};
use crate::pattern::Random;

/// So many are opened and closed first: what a proxy keeps from its first clients on belongs to
/// none of them.
const FIRST: usize = 64;
/// Memory that changes by less than this in four looks has settled.
const SETTLED: u64 = 64 * 1024;

/// Bytes of memory before the connections and with them.
pub struct Held {
    /// With none open.
    pub before: u64,
    /// With all of them open and idle.
    pub with: u64,
}

/// Holds `count` connections, looks at the memory, and then makes sure that every one is alive.
/// `rest` waits until so many are as idle as they become.
pub fn run(
    to: Destination,
    count: usize,
    rest: impl Fn(usize) -> Result<(), String>,
    memory: impl Fn() -> Result<u64, String>,
) -> Result<Held, String> {
    let mut random = Random(to.at.port().into());
    let first = open(to, FIRST, &mut random)?;
    rest(FIRST)?;
    drop(first);
    let before = settled(&memory)?;
    let mut clients = open(to, count, &mut random)?;
    rest(count)?;
    let with = settled(&memory)?;
    let lost = clients
        .iter_mut()
        .filter_map(|client| exchange(client, &mut random).err())
        .count();
    match lost {
        0 => Ok(Held { before, with }),
        _ => Err(format!("{lost} of {count} connections were lost")),
    }
}

/// The memory once it does not change any more.
fn settled(memory: &impl Fn() -> Result<u64, String>) -> Result<u64, String> {
    let until = Instant::now() + PATIENCE;
    let mut last = memory()?;
    let mut same = 0;
    while same < 4 && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
        let now = memory()?;
        same = match now.abs_diff(last) < SETTLED {
            true => same + 1,
            false => 0,
        };
        last = now;
    }
    Ok(last)
}
