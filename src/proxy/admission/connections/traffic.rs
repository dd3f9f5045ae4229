//! What a connection has carried.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::unanswered::CarriedBytes;
use super::unresponsive::Stall;
use crate::service::clock::Uptime;

/// What a connection has carried.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    /// When it last carried something, in microseconds since boot.
    pub(super) active_usec: AtomicU64,
    /// Whether the client was the last to send.
    pub(super) awaits_reply: AtomicBool,
    /// Towards the upstream, and towards the client.
    pub(super) stalls: [Stall; 2],
}

impl Traffic {
    pub(super) fn carried(&self) -> CarriedBytes {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    pub(super) fn set_carried(&self, (received, sent): CarriedBytes) {
        self.received.store(received, Relaxed);
        self.sent.store(sent, Relaxed);
    }

    pub(super) fn set_active(&self, now: Uptime) {
        self.active_usec.store(now.as_micros(), Relaxed);
    }
}
