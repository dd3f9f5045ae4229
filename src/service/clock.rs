//! Clocks, and times as numbers.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Microseconds since the boot, including suspension: `CLOCK_BOOTTIME`, clock_gettime(2). The clock of all decisions.
///
/// It is the same for every process of one boot, and cannot be set: a lease that one process saves ends at the right
/// moment in the next one, also if the time of day changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uptime(u64);

impl Uptime {
    /// Now.
    pub fn now() -> Self {
        let time = Duration::try_from(clock_gettime(ClockId::Boottime));
        Self::default() + time.unwrap_or_default()
    }

    /// The moment `micros` microseconds after the boot.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the boot.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment, which has passed, as the time of day in microseconds since 1970: for people. Each call may say
    /// something else, by some microseconds.
    pub fn time_of_day(self) -> u64 {
        realtime_micros().saturating_sub(micros(Self::now().since(self)))
    }
}

impl Add<Duration> for Uptime {
    type Output = Self;

    /// Saturates.
    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Something that is done again and again, whenever some time has passed.
#[derive(Debug, Default)]
pub struct Repetition {
    /// When it was done last, in microseconds since the boot.
    last: AtomicU64,
}

impl Repetition {
    /// Whether it is to be done now, if it is done `every` so often, and when it is to be done next.
    pub fn is_due(&self, every: Duration, now: Uptime) -> (bool, Uptime) {
        let next = Uptime::from_micros(self.last.load(Relaxed)) + every;
        if now < next {
            return (false, next);
        }
        self.last.store(now.as_micros(), Relaxed);
        (true, now + every)
    }
}

/// The time of day in microseconds since 1970: for people, not for decisions.
pub fn realtime_micros() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_micros().try_into().unwrap_or(u64::MAX))
}

/// The longest time in microseconds: Varlink's numbers have a sign.
pub const USEC_MAX: u64 = i64::MAX as u64;

/// A duration in microseconds, for the control interface and the journal; at most [`USEC_MAX`].
pub fn micros(duration: Duration) -> u64 {
    duration.as_micros().min(USEC_MAX.into()) as u64
}

/// A moment, in seconds since the boot.
#[cfg(test)]
pub fn at(seconds: u64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_repeated_when_the_time_has_passed() {
        let (repetition, every) = (Repetition::default(), Duration::from_secs(3));
        for (second, is_due, next) in [
            (9, true, 12),
            (10, false, 12),
            (12, true, 15),
            (20, true, 23),
        ] {
            assert_eq!(repetition.is_due(every, at(second)), (is_due, at(next)));
        }
    }

    #[test]
    fn no_time_is_longer_than_a_number_with_a_sign_can_say() {
        for time in [Duration::MAX, Duration::from_micros(u64::MAX)] {
            assert_eq!(micros(time), USEC_MAX);
        }
        assert_eq!(micros(Duration::from_micros(7)), 7);
    }
}
