//! When requests are due at a given rate, whether those before were answered or not.

use std::time::Duration;

/// The requests that are to be sent, at equal distances from the start.
pub struct Schedule {
    rate: f64,
    taken: u64,
}

impl Schedule {
    /// So many a second.
    pub fn new(rate: f64) -> Self {
        Self { rate, taken: 0 }
    }

    /// When the next one is due, from the start.
    pub fn next(&self) -> Duration {
        Duration::from_secs_f64(self.taken as f64 / self.rate)
    }

    /// Takes the next one if it is due by now: the time when it was due.
    pub fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = Some(self.next()).filter(|due| *due <= now);
        self.taken += u64::from(due.is_some());
        due
    }
}
