//! A caller of `Lock` that is still connected.

use std::time::Duration;

use super::words::{LockRequest, Mode, Notice, Outcome};
use crate::service::clock::Uptime;

#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whether the lock ends when this caller does.
    pub hold: bool,
    timeout_at: Option<Uptime>,
    force_at: Option<Uptime>,
    progress: Option<Progress>,
    /// After which idle time a connection is ended.
    pub close_idle: Option<Duration>,
    pub outcome: Option<Outcome>,
}

/// The limit on the time in which no connection ends.
#[derive(Clone, Copy, Debug)]
struct Progress {
    timeout: Duration,
    /// When the last connection ended, or when the wait began.
    since: Uptime,
}

impl Progress {
    fn deadline(self) -> Uptime {
        self.since + self.timeout
    }
}

impl Caller {
    pub fn new(request: &LockRequest, now: Uptime) -> Self {
        let since = now;
        let progress = |timeout| Progress { timeout, since };
        Self {
            hold: request.mode == Mode::Hold,
            timeout_at: request.timeout.map(|timeout| now + timeout),
            force_at: request.force_after.map(|after| now + after),
            progress: request.progress_timeout.map(progress),
            close_idle: request.close_idle,
            outcome: None,
        }
    }

    pub fn waits(&self) -> bool {
        self.outcome.is_none()
    }

    pub fn connection_ended(&mut self, now: Uptime) {
        if let Some(progress) = &mut self.progress {
            progress.since = now;
        }
    }

    /// The drain is complete, and all time limits are limits on the drain.
    pub fn drained(&mut self) {
        (self.timeout_at, self.force_at, self.progress) = (None, None, None);
        self.close_idle = None;
    }

    pub fn end_wait(&mut self, outcome: Outcome) {
        self.drained();
        self.outcome = Some(outcome);
    }

    /// Does what is due while `open` connections are open.
    pub fn tick(&mut self, open: usize, now: Uptime) -> Option<Notice> {
        let is_due = |at: Option<Uptime>| at.is_some_and(|at| at <= now);
        if is_due(self.timeout_at) {
            self.end_wait(Outcome::TimedOut { open });
        } else if is_due(self.progress.map(Progress::deadline)) {
            self.end_wait(Outcome::Stalled { open });
        } else if is_due(self.force_at) {
            self.force_at = None;
            return Some(Notice::Force);
        }
        None
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Uptime> {
        let progress = self.progress.map(Progress::deadline);
        let all = [self.timeout_at, self.force_at, progress];
        all.into_iter().flatten().min()
    }
}
