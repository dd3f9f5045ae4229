//! Parking connections for which there was no room when they came.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::proxy::event;
use crate::proxy::keep::Keep;
use crate::service::clock::Uptime;
use crate::service::plural::clause;

/// The pause before the search for room is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The connections that are not parked, for lack of room.
#[derive(Debug, Default)]
pub(super) struct UnparkedConnections {
    /// The time of the next search, in microseconds since boot.
    due: AtomicU64,
    /// Whether the journal says that there are some.
    is_logged: AtomicBool,
}

impl UnparkedConnections {
    /// Parks the connections for which there was no room, and logs if there is none yet, or again. Returns
    /// the time of the next call.
    pub(super) fn park(&self, keep: Keep, now: Uptime) -> Option<Uptime> {
        if !keep.has_unparked() {
            return None;
        }
        let due = Uptime::from_micros(self.due.load(Relaxed));
        if now < due {
            return Some(due);
        }
        let left = keep.park_unparked();
        let was_logged = self.is_logged.swap(left > 0, Relaxed);
        match left {
            0 if was_logged => tracing::info!(
                MESSAGE_ID = event::KEEPS,
                "all connections are safe from the end of this process again"
            ),
            1.. if !was_logged => tracing::warn!(
                MESSAGE_ID = event::KEEPS,
                OPEN = left,
                "{} not safe from the end of this process: this user has as many \
                 descriptors on their way in sockets as the kernel allows (raise LimitNOFILE=, or see \
                 who else sends some: another service, or another container's with the same number of \
                 a user)",
                clause(left, "connection", ("is", "are"))
            ),
            _ => {}
        }
        let due = now + RETRY_PAUSE;
        self.due.store(due.as_micros(), Relaxed);
        (left > 0).then_some(due)
    }
}
