//! Connections that were used once and are then held.

use std::thread;
use std::time::{Duration, Instant};

use super::{Client, PATIENCE, when};
use crate::memory::Memory;
use crate::pattern::Random;
use crate::poll::{Poll, Readiness, Ready};

/// So many are opened and closed first: what a proxy keeps from its first clients on belongs to
/// none of them.
const FIRST: usize = 64;
/// Memory that changes by less than this in four looks has settled.
const SETTLED: u64 = 64 * 1024;

/// Memory before the connections and with them.
pub struct Held {
    /// With none open.
    pub before: Memory,
    /// With all of them open and idle.
    pub with: Memory,
}

/// Holds `count` connections, looks at the memory, and then makes sure that every one is alive.
pub fn run(
    port: u16,
    count: usize,
    memory: impl Fn() -> Result<Memory, String>,
) -> Result<Held, String> {
    let mut random = Random(port.into());
    drop(open(port, FIRST, &mut random)?);
    let before = settled(&memory)?;
    let mut clients = open(port, count, &mut random)?;
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

fn open(port: u16, count: usize, random: &mut Random) -> Result<Vec<Client>, String> {
    (0..count)
        .map(|turn| {
            let mut client = Client::new(port, turn).map_err(when("connecting"))?;
            exchange(&mut client, random)
                .map_err(|error| format!("{error}, after {turn} connections"))?;
            Ok(client)
        })
        .collect()
}

/// Asks, and waits for the answer.
pub fn exchange(client: &mut Client, random: &mut Random) -> Result<(), String> {
    let poll = Poll::new().map_err(when("epoll"))?;
    poll.add(&client.socket, 0, Readiness::IN)
        .map_err(when("epoll"))?;
    client.ask(random).map_err(when("asking"))?;
    let until = Instant::now() + PATIENCE;
    while client.answer()?.is_none() {
        if Instant::now() > until {
            return Err("no answer".to_owned());
        }
        poll.wait(&mut Ready::new(), Some(PATIENCE))
            .map_err(when("epoll"))?;
    }
    Ok(())
}

/// The memory once it does not change any more.
fn settled(memory: &impl Fn() -> Result<Memory, String>) -> Result<Memory, String> {
    let until = Instant::now() + PATIENCE;
    let mut last = memory()?;
    let mut same = 0;
    while same < 4 && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
        let now = memory()?;
        same = match now.total.abs_diff(last.total) < SETTLED {
            true => same + 1,
            false => 0,
        };
        last = now;
    }
    Ok(last)
}
