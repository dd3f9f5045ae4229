//! The clients that wait in the kernel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::proxy::event;
use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::mutex;
use crate::service::plural::clause;

/// The accept backlogs of listeners, until another process has these.
#[derive(Debug, Default)]
pub struct Backlog {
    listeners: Mutex<Arc<[Listener]>>,
    full: Mutex<FullQueue>,
}

/// How often a full queue is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the journal says of full queues.
#[derive(Debug, Default)]
struct FullQueue {
    is_logged: bool,
    last: Option<Uptime>,
}

impl FullQueue {
    /// Returns whether to log that a queue is full: once each time that one is.
    fn must_log(&mut self, is_full: bool, now: Uptime) -> bool {
        if !is_full {
            self.is_logged = false;
            return false;
        }
        if self.is_logged || self.last.is_some_and(|last| now < last + LOG_EVERY) {
            return false;
        }
        self.is_logged = true;
        self.last = Some(now);
        true
    }
}

impl Backlog {
    pub fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners: Mutex::new(listeners),
            ..Self::default()
        }
    }

    /// The listeners; none once another process has them.
    pub fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&mutex::lock(&self.listeners))
    }

    /// Leaves the listeners to another process.
    pub fn leave(&self) {
        let listeners = std::mem::take(&mut *mutex::lock(&self.listeners));
        listeners.iter().for_each(Listener::leave);
    }

    pub fn waiting(&self) -> u32 {
        self.listeners()
            .iter()
            .filter_map(Listener::queue)
            .map(|(waiting, _)| waiting)
            .sum()
    }

    /// Logs that no more clients can wait, each time that a queue becomes full.
    pub fn watch(&self, now: Uptime) {
        let listeners = self.listeners();
        let full = listeners.iter().find_map(|listener| {
            let (waiting, most) = listener.queue()?;
            (waiting >= most && most > 0).then_some((listener, waiting))
        });
        let must_log = mutex::lock(&self.full).must_log(full.is_some(), now);
        if let Some((listener, waiting)) = full.filter(|_| must_log) {
            tracing::warn!(
                MESSAGE_ID = event::QUEUE_FULL, LISTENER = %listener, QUEUED = waiting,
                "{} on {listener}, more cannot: further clients try again by themselves (raise \
                 Backlog= and net.core.somaxconn)",
                clause(waiting, "client", ("waits", "wait"))
            );
        }
    }

    /// The gate has opened: the clients that wait are accepted.
    pub(super) fn gate_opened(&self) {
        *mutex::lock(&self.full) = FullQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_logged_each_time_that_it_becomes_full_but_not_too_often() {
        let mut queue = FullQueue::default();
        let at = |seconds: u64| Uptime::from_micros(seconds * 1_000_000);
        for (seconds, is_full, must_log) in [
            (1, false, false),
            (2, true, true),
            (30, true, false),
            (31, false, false),
            (32, true, true),
            (33, false, false),
            (34, true, false),
            (42, true, true),
            (60, true, false),
        ] {
            assert_eq!(queue.must_log(is_full, at(seconds)), must_log, "{seconds}");
        }
    }
}
