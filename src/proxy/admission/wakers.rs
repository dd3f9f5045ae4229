//! Waking the parts of the process that wait for a change of the gate.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::{Notify, watch};

/// Wakes the life cycle's loop, the control calls, and what has detached clients follow the gate.
#[derive(Debug, Default)]
pub struct Wakers {
    life_cycle: Notify,
    /// Whether the loop was woken for a new number of connections and has not read it yet.
    count_is_new: AtomicBool,
    gate_turned: Notify,
    calls: watch::Sender<()>,
}

impl Wakers {
    /// Waits until the life cycle's loop is woken. Cancel safe.
    pub async fn life_cycle(&self) {
        self.life_cycle.notified().await;
    }

    pub fn wake_life_cycle(&self) {
        self.life_cycle.notify_one();
    }

    /// Wakes the life cycle's loop for a new number of connections, once until it reads that.
    pub fn count_changed(&self) {
        if !self.count_is_new.swap(true, Relaxed) {
            self.life_cycle.notify_one();
        }
    }

    /// The loop is about to read the number of connections.
    pub fn count_seen(&self) {
        self.count_is_new.store(false, Relaxed);
    }

    /// It has changed when detached clients get an upstream ([`Gate::attaching`](super::gate::Gate::attaching)).
    pub(super) fn gate_turned(&self) {
        self.gate_turned.notify_one();
    }

    /// Waits until it has changed when detached clients get an upstream. Cancel safe.
    pub async fn turned(&self) {
        self.gate_turned.notified().await;
    }

    pub fn wake_calls(&self) {
        self.calls.send_replace(());
    }

    pub fn has_calls(&self) -> bool {
        self.calls.receiver_count() > 0
    }

    /// Receives every change of state.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.calls.subscribe()
    }
}
