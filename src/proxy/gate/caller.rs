//! Somebody who called `Lock` and is still there.

use std::time::Duration;

use super::words::{LockRequest, Mode, Notice, Outcome};
use crate::service::clock::Uptime;

#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whether the lock lasts as long as this caller does.
    pub(super) hold: bool,
    timeout_at: Option<Uptime>,
    force_at: Option<Uptime>,
    progress: Option<Progress>,
    /// How its wait has ended.
    pub(super) outcome: Option<Outcome>,
}

/// Gives up when nobody has left for so long.
#[derive(Clone, Copy, Debug)]
struct Progress {
    timeout: Duration,
    /// When somebody left the last time, or when it began to wait.
    since: Uptime,
}

impl Progress {
    fn over_at(self) -> Uptime {
        self.since + self.timeout
    }
}

impl Caller {
    pub(super) fn new(request: &LockRequest, now: Uptime) -> Self {
        let progress = |timeout| Progress {
            timeout,
            since: now,
        };
        Self {
            hold: request.mode == Mode::Hold,
            timeout_at: request.timeout.map(|timeout| now + timeout),
            force_at: request.force_after.map(|after| now + after),
            progress: request.progress_timeout.map(progress),
            outcome: None,
        }
    }

    /// Whether it still waits.
    pub(super) fn waits(&self) -> bool {
        self.outcome.is_none()
    }

    /// A connection has ended.
    pub(super) fn somebody_left(&mut self, now: Uptime) {
        if let Some(progress) = &mut self.progress {
            progress.since = now;
        }
    }

    /// The drain is complete: its times, which were about that, are over.
    pub(super) fn drained(&mut self) {
        (self.timeout_at, self.force_at, self.progress) = (None, None, None);
    }

    /// Does what is due while so many connections are open.
    pub(super) fn tick(&mut self, open: usize, now: Uptime) -> Option<Notice> {
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.outcome = Some(Outcome::TimedOut { open });
        } else if self
            .progress
            .is_some_and(|progress| progress.over_at() <= now)
        {
            self.outcome = Some(Outcome::Stalled { open });
        } else if self.force_at.is_some_and(|at| at <= now) {
            self.force_at = None;
            return Some(Notice::Force);
        }
        None
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        let progress = self.progress.map(Progress::over_at);
        [self.timeout_at, self.force_at, progress]
            .into_iter()
            .flatten()
            .min()
    }
}
