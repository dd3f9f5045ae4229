//! The clients that wait in the kernel.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proxy::event;
use crate::service::listener::Listener;
use crate::service::plural::clause;

/// The accept backlogs of all listeners.
#[derive(Debug)]
pub struct Backlog {
    listeners: Mutex<Arc<[Listener]>>,
    /// Whether it was logged that one is full.
    is_full: AtomicBool,
}

impl Backlog {
    /// Of these listeners.
    pub fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners: Mutex::new(listeners),
            is_full: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<[Listener]>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The listeners; none once another process has them.
    pub fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&self.lock())
    }

    /// Leaves the listeners to another process.
    pub(in crate::proxy) fn leave(&self) {
        let listeners = std::mem::take(&mut *self.lock());
        listeners.iter().for_each(Listener::leave);
    }

    /// Clients that wait.
    pub fn waiting(&self) -> u32 {
        self.listeners()
            .iter()
            .filter_map(Listener::queue)
            .map(|(waiting, _)| waiting)
            .sum()
    }

    /// Logs, once for each lock, when no more clients can wait.
    pub(in crate::proxy) fn watch(&self) {
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

    /// The gate has opened.
    pub(in crate::proxy) fn drains(&self) {
        self.is_full.store(false, Relaxed);
    }
}
