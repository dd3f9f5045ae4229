//! What is to be known of the proxy.

use std::sync::atomic::Ordering::Relaxed;

use super::Proxy;
use crate::interface::GateState;
use crate::interface::{ListenerStatus, LockStatus, Status};
use crate::proxy::event;
use crate::service::clock::{Uptime, micros};
use crate::service::listener::Listener;
use crate::service::words::clause;

impl Proxy {
    /// Warns, once for each lock, when no more clients can wait.
    pub(in crate::proxy) fn watch_queue(&self) {
        for listener in self.listeners().iter() {
            let Some((waiting, most)) = listener.queue() else {
                continue;
            };
            if waiting >= most && most > 0 && !self.queue_full.swap(true, Relaxed) {
                tracing::warn!(
                    MESSAGE_ID = event::QUEUE_FULL, LISTENER = %listener, QUEUED = waiting,
                    "{} on {listener}, more cannot: who comes now tries again by itself (raise \
                     Backlog= and net.core.somaxconn)",
                    clause(waiting, "client", ("waits", "wait"))
                );
            }
        }
    }

    /// Clients that wait.
    pub fn queued(&self) -> u32 {
        self.listeners()
            .iter()
            .filter_map(Listener::queue)
            .map(|(waiting, _)| waiting)
            .sum()
    }

    /// The gate and the number of open connections.
    pub fn progress(&self) -> (GateState, usize) {
        let gate = self.gate();
        (gate.0.state(), gate.0.open())
    }

    /// Everything that is to be known now.
    pub fn status(&self) -> Status {
        let (received_bytes, sent_bytes) = self.connections.carried();
        let listeners: Vec<ListenerStatus> = self.listeners().iter().map(listener_status).collect();
        let gate = self.gate();
        let lock = gate.0.lock_record().map(|record| LockStatus {
            reason: record.reason.clone(),
            since_usec: record.since_usec,
            lease_left_usec: record
                .lease_until
                .map(|until| micros(until.since(Uptime::now()))),
            at_lease_end: record.at_lease_end,
            callers: gate.0.callers(),
            kept: record.kept,
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            gate: gate.0.state(),
            lock,
            target: self.target().map(|target| target.to_string()),
            target_fixed: self.settings.target_fixed,
            open: gate.0.open(),
            open_in_predecessor: gate.0.open_in_predecessor(),
            connections_max: gate.0.connections_max(),
            queued: listeners
                .iter()
                .filter_map(|listener| listener.waiting)
                .sum(),
            accepted: self.connections.accepted(),
            unreachable: self.unreachable.load(Relaxed),
            refused: self.connections.refused(),
            received_bytes,
            sent_bytes,
            listeners,
        }
    }

    /// Open connections.
    pub(in crate::proxy) fn open(&self) -> usize {
        self.gate().0.open()
    }

    /// A client was accepted. The accept loop tells the number, now and then.
    pub(in crate::proxy) fn count_changed(&self) {
        if !self.count_told.swap(true, Relaxed) {
            self.woken.notify_one();
        }
    }

    /// The accept loop is about to look at the count.
    pub(in crate::proxy) fn count_seen(&self) {
        self.count_told.store(false, Relaxed);
    }
}

fn listener_status(listener: &Listener) -> ListenerStatus {
    let queue = listener.queue();
    ListenerStatus {
        address: listener.to_string(),
        inherited: listener.is_inherited(),
        waiting: queue.map(|(waiting, _)| waiting),
        backlog: queue.map(|(_, most)| most),
    }
}
