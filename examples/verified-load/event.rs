//! An event that happens once.

use std::cell::Cell;

use tokio::sync::Notify;

/// An event that other tasks of this thread wait for.
#[derive(Debug, Default)]
pub struct Event {
    happened: Cell<bool>,
    told: Notify,
}

impl Event {
    /// Marks it as happened.
    pub fn tell(&self) {
        self.happened.set(true);
        self.told.notify_waiters();
    }

    /// Whether it has happened.
    pub fn has_happened(&self) -> bool {
        self.happened.get()
    }

    /// Waits until it has happened.
    pub async fn wait(&self) {
        while !self.has_happened() {
            self.told.notified().await;
        }
    }
}
