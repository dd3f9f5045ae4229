//! The time that counts: the CPU of the proxy is read at both ends. Of our own loads it begins after a
//! warm-up; of a tool it is its whole run.

use std::time::{Duration, Instant};

use crate::cpu::{Busy, Tree};

/// Where we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not counted yet.
    WarmUp,
    /// Counted.
    Measured,
    /// Time to stop.
    Over,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Bytes, requests or connections.
    pub units: u64,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Seconds of CPU that the proxy has used.
    pub cpu: f64,
    /// Share of the machine's CPU that went to what is neither proxy nor load.
    pub others: f64,
    /// Time of each request, in nanoseconds.
    pub times: Vec<u32>,
}

/// Measures.
pub struct Window<'a> {
    proxy: &'a Tree,
    warm_up_until: Option<Instant>,
    length: Duration,
    began: Option<Mark>,
    seen: Seen,
}

/// A moment, with what was used by then.
pub struct Mark {
    at: Instant,
    used: Duration,
    machine: Busy,
}

impl Mark {
    /// Now.
    pub fn now(proxy: &Tree) -> Self {
        let machine = Busy::beside_us();
        let used = proxy.used();
        let at = Instant::now();
        Self { at, used, machine }
    }

    /// The time since then.
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// Writes down what was used since then.
    pub fn complete(&self, proxy: &Tree, seen: &mut Seen) {
        let time = self.elapsed();
        seen.seconds = time.as_secs_f64();
        seen.cpu = proxy.used().saturating_sub(self.used).as_secs_f64();
        seen.others = self.machine.others(time);
    }
}

impl<'a> Window<'a> {
    /// Begins when it is first asked, with the warm-up: a quarter of the length.
    pub fn new(proxy: &'a Tree, length: Duration) -> Self {
        Self {
            proxy,
            warm_up_until: None,
            length,
            began: None,
            seen: Seen::default(),
        }
    }

    /// To be asked in each turn of a loop.
    pub fn phase(&mut self) -> Phase {
        let now = Instant::now();
        let measure_from = *self.warm_up_until.get_or_insert(now + self.length / 4);
        match &self.began {
            None if now < measure_from => Phase::WarmUp,
            None => {
                self.began = Some(Mark::now(self.proxy));
                Phase::Measured
            }
            Some(began) if began.elapsed() < self.length => Phase::Measured,
            Some(began) => {
                began.complete(self.proxy, &mut self.seen);
                Phase::Over
            }
        }
    }

    /// Something was done, in this time.
    pub fn count(&mut self, time: Duration) {
        self.seen.units += 1;
        let time = time.as_nanos().try_into().unwrap_or(u32::MAX);
        self.seen.times.push(time);
    }

    /// Bytes came.
    pub fn add(&mut self, bytes: usize) {
        self.seen.units += bytes as u64;
    }

    /// All that was seen.
    pub fn seen(self) -> Seen {
        self.seen
    }
}
