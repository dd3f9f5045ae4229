//! What the acceptor, the conversations and the life cycle share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// What all connections share.
pub struct Server {
    pub greeting: String,
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

impl Server {
    /// A server without connections.
    pub fn new(greeting: String, connections_max: usize) -> Self {
        Self {
            greeting,
            connections_max,
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            failure: OnceLock::new(),
            changed: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Whether one more client may be accepted now.
    pub fn may_accept(&self) -> bool {
        let waits = [&self.stopping, &self.resting, &self.paused];
        !waits.iter().any(|flag| flag.load(Relaxed)) && self.open() < self.connections_max
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}
