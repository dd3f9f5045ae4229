//! The clients that wait in the kernel.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::proxy::event;
use crate::service::listener::Listener;
use crate::service::mutex;
use crate::service::plural::clause;

/// The accept backlogs of listeners, until another process has these.
#[derive(Debug, Default)]
pub struct Backlog {
    listeners: Mutex<Arc<[Listener]>>,
    /// Whether the journal says that one is full.
    is_full: AtomicBool,
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

    /// The number of clients that wait.
    pub fn waiting(&self) -> u32 {
        self.listeners()
            .iter()
            .filter_map(Listener::queue)
            .map(|(waiting, _)| waiting)
            .sum()
    }

    /// Logs, once for each lock, that no more clients can wait.
    pub fn watch(&self) {
        for listener in self.listeners().iter() {
            let Some((waiting, most)) = listener.queue() else {
                continue;
            };
            if waiting >= most && most > 0 && !self.is_full.swap(true, Relaxed) {
                tracing::warn!(
                    MESSAGE_ID = event::QUEUE_FULL, LISTENER = %listener, QUEUED = waiting,
                    "{} on {listener}, more cannot: who comes now tries again by itself (raise \
                     Backlog= and net.core.somaxconn)",
                    clause(waiting, "client", ("waits", "wait"))
                );
            }
        }
    }

    /// The gate has opened: the clients that wait are accepted.
    pub(super) fn drains(&self) {
        self.is_full.store(false, Relaxed);
    }
}
