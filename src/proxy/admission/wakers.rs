//! Waking the parts of the process that wait for a change of the gate.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::{Notify, watch};

/// Wakes the life cycle's loop and the control calls.
#[derive(Debug)]
pub struct Wakers {
    life_cycle: Notify,
    /// Whether the loop has been woken for a new number of connections and has not looked at it yet.
    count_is_new: AtomicBool,
    calls: watch::Sender<()>,
}

impl Default for Wakers {
    fn default() -> Self {
        Self {
            life_cycle: Notify::new(),
            count_is_new: AtomicBool::new(false),
            calls: watch::Sender::new(()),
        }
    }
}

impl Wakers {
    /// Waits until the life cycle's loop is woken. Cancel safe.
    pub(in crate::proxy) async fn life_cycle(&self) {
        self.life_cycle.notified().await;
    }

    /// Wakes the life cycle's loop.
    pub(in crate::proxy) fn wake_life_cycle(&self) {
        self.life_cycle.notify_one();
    }

    /// The number of connections has changed. The loop is woken once until it looks.
    pub(in crate::proxy) fn count_changed(&self) {
        if !self.count_is_new.swap(true, Relaxed) {
            self.life_cycle.notify_one();
        }
    }

    /// The loop is about to look at the number.
    pub(in crate::proxy) fn count_seen(&self) {
        self.count_is_new.store(false, Relaxed);
    }

    /// Wakes the calls that wait for a change.
    pub(in crate::proxy) fn wake_calls(&self) {
        self.calls.send_replace(());
    }

    /// Whether a call waits for a change.
    pub(in crate::proxy) fn has_calls(&self) -> bool {
        self.calls.receiver_count() > 0
    }

    /// Receives every change of state.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.calls.subscribe()
    }
}
