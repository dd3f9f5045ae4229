//! The clock that decisions are taken by.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Time since the machine was booted, also while it was suspended: `CLOCK_BOOTTIME`,
/// clock_gettime(2).
///
/// It is the same for every process of one boot and nobody can set it, so that a lease which one
/// process writes down ends at the right moment in the next one, whatever happens to the time of
/// day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Uptime(Duration);

impl From<u64> for Uptime {
    fn from(micros: u64) -> Self {
        Self::from_micros(micros)
    }
}

impl From<Uptime> for u64 {
    fn from(uptime: Uptime) -> Self {
        uptime.as_micros()
    }
}

impl Uptime {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(Duration::new(
            time.tv_sec.try_into().unwrap_or(0),
            time.tv_nsec.try_into().unwrap_or(0),
        ))
    }

    /// A moment so many microseconds after the machine was booted.
    pub fn from_micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }

    /// Microseconds since the machine was booted.
    pub fn as_micros(self) -> u64 {
        self.0.as_micros().try_into().unwrap_or(u64::MAX)
    }

    /// The time that has passed since `earlier`; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Uptime {
    type Output = Self;

    /// Saturates: a time too far away to be written down is as good as never.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// The time of day, microseconds since 1970: for people to read, never to decide by.
pub fn realtime_micros() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_micros().try_into().unwrap_or(u64::MAX))
}

/// The longest time in microseconds: Varlink's numbers have a sign.
pub const USEC_MAX: u64 = i64::MAX as u64;

/// Microseconds of a length of time, as the control interface and the journal count them, at most
/// [`USEC_MAX`].
pub fn micros(duration: Duration) -> u64 {
    duration
        .as_micros()
        .try_into()
        .map_or(USEC_MAX, |usec: u64| usec.min(USEC_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_longer_than_a_number_with_a_sign_can_say() {
        for time in [Duration::MAX, Duration::from_micros(u64::MAX)] {
            assert_eq!(micros(time), USEC_MAX);
        }
        assert_eq!(micros(Duration::from_micros(7)), 7);
    }
}
