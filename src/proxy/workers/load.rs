//! How much a thread has to do.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::balance::FULL;
use crate::service::clock::Uptime;

/// How often a busy thread measures its load.
const EVERY: Duration = Duration::from_millis(50);

/// The age of a measurement from which the thread is asleep.
const OLD: Duration = Duration::from_millis(200);

/// What other threads know of a thread's work.
#[derive(Debug, Default)]
pub(super) struct Load {
    part: AtomicU32,
    measured_usec: AtomicU64,
    /// Whether the thread has been asked for an answer and has not given it yet.
    is_asked: AtomicBool,
}

impl Load {
    /// The part of a processor that the thread used lately, in thousandths.
    pub(super) fn part(&self) -> u32 {
        let measured = Uptime::from_micros(self.measured_usec.load(Relaxed));
        match Uptime::now().since(measured) < OLD {
            true => self.part.load(Relaxed),
            false => 0,
        }
    }

    /// Whether the thread has no time for more.
    pub(super) fn is_full(&self) -> bool {
        self.part.load(Relaxed) >= FULL && self.part() >= FULL
    }

    fn set(&self, part: u32, now: Uptime) {
        self.part.store(part, Relaxed);
        self.measured_usec.store(now.as_micros(), Relaxed);
    }

    /// As if it had been measured just now.
    #[cfg(test)]
    pub(super) fn pretend(&self, part: u32) {
        self.set(part, Uptime::now());
    }

    /// The thread's loop turns.
    pub(super) fn answer(&self) {
        self.is_asked.store(false, Relaxed);
    }

    /// Asks for an answer. Returns whether the last question was answered.
    pub(super) fn ask(&self) -> bool {
        !self.is_asked.swap(true, Relaxed)
    }
}

/// Measures the load of the calling thread.
#[derive(Debug)]
pub(super) struct Stopwatch {
    since: Uptime,
    /// The processor time of the thread at that moment.
    used: Duration,
}

impl Stopwatch {
    pub(super) fn new() -> Self {
        Self {
            since: Uptime::now(),
            used: used(),
        }
    }

    /// Measures the load if it is time to. Returns whether it was.
    pub(super) fn measure(&mut self, now: Uptime, load: &Load) -> bool {
        let interval = now.since(self.since);
        if interval < EVERY {
            return false;
        }
        let used = used();
        let part = used.saturating_sub(self.used).as_micros() * 1000 / interval.as_micros();
        load.set(part.min(1000) as u32, now);
        (self.since, self.used) = (now, used);
        true
    }
}

/// The processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_nothing_else_is_full_and_one_that_sleeps_is_not() {
        let load = Load::default();
        let mut watch = Stopwatch::new();
        while !watch.measure(Uptime::now(), &load) {}
        assert!(load.part.load(Relaxed) > 0);
        assert!(load.part() <= 1000);
        let long_ago = Uptime::now().as_micros() - 1_000_000;
        load.measured_usec.store(long_ago, Relaxed);
        assert_eq!(load.part(), 0);
    }
}
