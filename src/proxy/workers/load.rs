//! How much a thread has to do.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::balance::FULL;
use crate::service::clock::Uptime;

/// How often a thread that has something to do looks how much that is.
const EVERY: Duration = Duration::from_millis(50);

/// What was seen so long ago says nothing any more: the thread sleeps.
const OLD: Duration = Duration::from_millis(200);

/// What others can know of a thread's work.
#[derive(Debug)]
pub(super) struct Load {
    part: AtomicU32,
    seen_usec: AtomicU64,
    answered: AtomicBool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            part: AtomicU32::new(0),
            seen_usec: AtomicU64::new(0),
            answered: AtomicBool::new(true),
        }
    }
}

impl Load {
    /// The part of a processor that the thread used lately, in thousandths.
    pub(super) fn part(&self) -> u32 {
        let seen = Uptime::from_micros(self.seen_usec.load(Relaxed));
        match Uptime::now().since(seen) < OLD {
            true => self.part.load(Relaxed),
            false => 0,
        }
    }

    /// Whether the thread has no time for more.
    pub(super) fn is_full(&self) -> bool {
        self.part.load(Relaxed) >= FULL && self.part() >= FULL
    }

    /// As if it had been seen just now.
    #[cfg(test)]
    pub(super) fn pretend(&self, part: u32) {
        self.part.store(part, Relaxed);
        let now = Uptime::now().as_micros();
        self.seen_usec.store(now, Relaxed);
    }

    /// The thread is there.
    pub(super) fn answer(&self) {
        self.answered.store(true, Relaxed);
    }

    /// Whether it has said so since the last call.
    pub(super) fn answered(&self) -> bool {
        self.answered.swap(false, Relaxed)
    }
}

/// The thread's own view.
#[derive(Debug)]
pub(super) struct Stopwatch {
    since: Uptime,
    used: Duration,
}

impl Stopwatch {
    /// Begins now, for the calling thread.
    pub(super) fn new() -> Self {
        Self {
            since: Uptime::now(),
            used: used(),
        }
    }

    /// Looks, if it is time to, and tells the others; whether it did.
    pub(super) fn look(&mut self, now: Uptime, load: &Load) -> bool {
        let passed = now.since(self.since);
        if passed < EVERY {
            return false;
        }
        let used = used();
        let part = used.saturating_sub(self.used).as_micros() * 1000 / passed.as_micros();
        load.part.store(part.min(1000) as u32, Relaxed);
        load.seen_usec.store(now.as_micros(), Relaxed);
        (self.since, self.used) = (now, used);
        true
    }
}

/// The processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_nothing_else_is_full_and_one_that_sleeps_is_not() {
        let load = Load::default();
        let mut watch = Stopwatch::new();
        while !watch.look(Uptime::now(), &load) {}
        assert!(load.part.load(Relaxed) > 0);
        assert!(load.part() <= 1000);
        let long_ago = Uptime::now().as_micros() - 1_000_000;
        load.seen_usec.store(long_ago, Relaxed);
        assert_eq!(load.part(), 0);
    }
}
