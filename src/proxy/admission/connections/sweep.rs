//! Ending connections that have reached a time limit.

use std::time::Duration;

use super::abort::Abort;
use super::connection::Connection;
use crate::service::clock::{Repetition, Uptime};

/// The limits on the time in which nothing is carried, a receiver takes nothing, and a peer does not answer.
#[derive(Debug, Default)]
pub struct Sweep {
    pub idle: Option<Duration>,
    pub stalled: Option<Duration>,
    pub silent: Option<Duration>,
    /// When the connections are compared with them.
    pub repetition: Repetition,
}

impl Sweep {
    /// Whether a sweep is due, and when the next one is; `None` without a limit.
    pub(super) fn is_due(&self, now: Uptime) -> Option<(bool, Uptime)> {
        let all = [self.idle, self.stalled, self.silent];
        let shortest = all.into_iter().flatten().min()?;
        // Eight looks until the time is over; the last but one decides, so that it is not late.
        let every = (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(15));
        Some(self.repetition.is_due(every, now))
    }

    /// Why a connection is to end, if it has reached a limit.
    pub(super) fn verdict(&self, connection: &Connection, now: Uptime) -> Option<Abort> {
        let early = |limit: Duration| limit - limit / 8;
        let is_idle = |limit| connection.idle(now) >= limit;
        let is_gone = |limit| connection.is_gone(early(limit));
        let is_stalled = |limit| connection.stalled(now) >= early(limit);
        if self.idle.is_some_and(is_idle) {
            Some(Abort::Idle)
        } else if self.silent.is_some_and(is_gone) {
            Some(Abort::PeerGone)
        } else {
            let is_stalled = self.stalled.is_some_and(is_stalled);
            is_stalled.then_some(Abort::Stalled)
        }
    }
}
