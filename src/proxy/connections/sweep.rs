//! Ending connections that have lasted too long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::connection::{Abort, Connection};
use crate::service::clock::Uptime;

/// The limits of a connection, and when the connections were last held against them.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How long nothing may be carried.
    pub idle: Option<Duration>,
    /// How long bytes may wait for a receiver that takes none.
    pub stalled: Option<Duration>,
    /// How long a peer may not answer.
    pub silent: Option<Duration>,
    /// In microseconds since boot.
    last: AtomicU64,
}

impl Sweep {
    /// With these limits.
    pub fn new(
        idle: Option<Duration>,
        stalled: Option<Duration>,
        silent: Option<Duration>,
    ) -> Self {
        Self {
            idle,
            stalled,
            silent,
            last: AtomicU64::new(0),
        }
    }

    /// Whether it is time for a sweep, and when the next one is due; `None` without a limit.
    pub(super) fn is_due(&self, now: Uptime) -> Option<(bool, Uptime)> {
        let all = [self.idle, self.stalled, self.silent];
        let shortest = all.into_iter().flatten().min()?;
        // Eight looks until the time is over; the last but one decides, so that it is not late.
        let every = (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(15));
        let last = Uptime::from_micros(self.last.load(Relaxed));
        if now < last + every {
            return Some((false, last + every));
        }
        self.last.store(now.as_micros(), Relaxed);
        Some((true, now + every))
    }

    /// Why a connection is to be ended, if it has lasted too long.
    pub(super) fn verdict(&self, connection: &Connection, now: Uptime) -> Option<Abort> {
        let early = |limit: Duration| limit - limit / 8;
        let reached =
            |limit: Option<Duration>, lasts: &dyn Fn(Duration) -> bool| limit.is_some_and(lasts);
        if reached(self.idle, &|limit| connection.idle(now) >= limit) {
            Some(Abort::Idle)
        } else if reached(self.silent, &|limit| connection.is_gone(early(limit))) {
            Some(Abort::PeerGone)
        } else if reached(self.stalled, &|limit| {
            connection.stalled(now) >= early(limit)
        }) {
            Some(Abort::Stalled)
        } else {
            None
        }
    }
}
