//! The time in which is measured: after a warm-up, the CPU of the proxy is read at both ends.

use std::process;
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
    began: Option<Began>,
    seen: Seen,
}

struct Began {
    at: Instant,
    used: Duration,
    machine: Busy,
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
                let machine = Busy::beside(Tree::of(process::id()));
                self.began = Some(Began {
                    at: Instant::now(),
                    used: self.proxy.used(),
                    machine,
                });
                Phase::Measured
            }
            Some(began) if now - began.at < self.length => Phase::Measured,
            Some(began) => {
                let time = now - began.at;
                self.seen.seconds = time.as_secs_f64();
                self.seen.cpu = self.proxy.used().saturating_sub(began.used).as_secs_f64();
                self.seen.others = began.machine.others(time);
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
