//! The state that the acceptor, the conversations and the life cycle share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::service::listener::Listener;
use crate::service::program::Failure;
use crate::service::serve::Service;

#[derive(Default)]
pub struct ServerState {
    pub connections_max: usize,
    pub open: AtomicUsize,
    pub accepted: AtomicU64,
    pub stopping: AtomicBool,
    /// The last look before the process ends for lack of use.
    pub resting: AtomicBool,
    /// No descriptors are left: accepting pauses.
    pub paused: AtomicBool,
    /// Why no client can be accepted any more.
    pub failure: OnceLock<String>,
    /// Wakes the life cycle's loop: the number of open connections has changed, or accepting has failed.
    pub changed: Notify,
    /// Wakes the acceptor: a connection has ended.
    pub room: Notify,
}

impl Service for ServerState {
    fn may_accept(&self) -> bool {
        let obstacles = [&self.stopping, &self.resting, &self.paused];
        !obstacles.iter().any(|flag| flag.load(Relaxed)) && self.open() < self.connections_max
    }

    fn set_resting(&self, resting: bool) {
        self.resting.store(resting, Relaxed);
        if !resting {
            self.room.notify_one();
        }
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned().map(Failure::from)
    }

    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn status(&self, listeners: &[Listener]) -> String {
        let queues = listeners.iter().filter_map(Listener::queue);
        let waiting: u32 = queues.map(|(waiting, _)| waiting).sum();
        format!("{} open, {waiting} waiting.", self.open())
    }

    fn stopping(&self) {
        self.stopping.store(true, Relaxed);
    }
}
