//! The sockets on which load balancers ask whether clients pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::proxy::admission::Backlog;
use crate::service::listener::Listener;

/// The sockets, and how many peers there are. These are no clients: nothing waits for them but an idle exit.
#[derive(Debug)]
pub struct HealthSockets {
    backlog: Backlog,
    left: Notify,
    peers: AtomicUsize,
}

impl HealthSockets {
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            backlog: Backlog::new(listeners.into()),
            left: Notify::new(),
            peers: AtomicUsize::new(0),
        }
    }

    /// The listeners; none once another process has them.
    pub fn listeners(&self) -> Arc<[Listener]> {
        self.backlog.listeners()
    }

    /// Leaves the listeners to another process.
    pub fn leave(&self) {
        self.backlog.leave();
        self.left.notify_one();
    }

    /// Waits for [`Self::leave`]. Cancel safe.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    /// A peer was accepted.
    pub fn enter(&self) {
        self.peers.fetch_add(1, Relaxed);
    }

    /// It has its answer, or will get none.
    pub fn exit(&self) {
        self.peers.fetch_sub(1, Relaxed);
    }

    /// Whether a peer has no answer yet.
    pub fn is_asked(&self) -> bool {
        self.peers.load(Relaxed) > 0 || self.listeners().iter().any(Listener::has_waiting)
    }
}
