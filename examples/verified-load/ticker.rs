//! Rates that do not depend on the answers, with a resolution of a millisecond.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::bytes::Random;
use crate::load::Load;
use crate::plan::Plan;
use crate::stream;
use crate::talk::Group;

const TICK: Duration = Duration::from_millis(1);

/// Calls `act` with the count that is due, at this many per second, until the end.
async fn at_rate(load: &Load, rate: f64, mut act: impl FnMut(u64)) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (beginning, mut done) = (Instant::now(), 0);
    loop {
        ticks.tick().await;
        if load.ending.has_happened() {
            return;
        }
        let due = (beginning.elapsed().as_secs_f64() * rate) as u64;
        if due > done {
            act(due - done);
            done = due;
        }
    }
}

/// Makes the members of a group send packets, one after the other.
pub async fn talk(load: Rc<Load>, group: Rc<Group>, packets: f64) {
    let mut random = Random::new(load.options.seed ^ 0x7a1c);
    let (least, most) = load.options.packet_sizes.clone().into_inner();
    let mut turn = 0;
    // The echo counts as a packet, too.
    at_rate(&load, packets / 2.0, |due| {
        let members = group.members.borrow();
        let now = Instant::now();
        for _ in 0..due {
            let Some(count) = std::num::NonZero::new(members.len()) else {
                return;
            };
            turn = (turn + 1) % count;
            members[turn].say(least + random.below(most - least + 1), now);
            group.packets.set(group.packets.get() + 1);
        }
    })
    .await;
}

/// Starts streams.
pub async fn streams(load: Rc<Load>) {
    let mut random = Random::new(load.options.seed);
    let open = Rc::new(Cell::new(0));
    at_rate(&load, load.options.streams, |due| {
        for _ in 0..due {
            if open.get() >= load.options.most {
                load.tally.borrow_mut().held_back += 1;
                continue;
            }
            let plan = Plan::new(random.next(), &load.options);
            let (load, open) = (Rc::clone(&load), Rc::clone(&open));
            open.set(open.get() + 1);
            tokio::task::spawn_local(async move {
                stream::run(load, plan).await;
                open.set(open.get() - 1);
            });
        }
    })
    .await;
}

/// Measures the pauses of this program itself.
pub async fn own_pauses(load: Rc<Load>) {
    let mut last = Instant::now();
    at_rate(&load, 1000.0, |_| {
        let now = Instant::now();
        let late = now.duration_since(last).saturating_sub(TICK);
        last = now;
        let mut tally = load.tally.borrow_mut();
        tally.own_pause = tally.own_pause.max(late);
    })
    .await;
}
