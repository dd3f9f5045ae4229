//! Connections that an earlier process handed over.

use super::Proxy;
use crate::interface::ConnectionStatus;
use crate::service::clock::Uptime;
use crate::service::words::clause;

impl Proxy {
    /// Counts the connections that an earlier process handed over and that are still open, instead
    /// of those that the process which was taken over had: it has ended, if there was one. It is one
    /// step, so that nobody sees fewer than there are.
    pub(in crate::proxy) fn adopt_orphans(&self) {
        let adopted = self.with_gate(|gate, store| {
            let found = self.handover.adopt();
            let count = found.as_ref().map_or(0, |count| *count);
            gate.adopt(count);
            (found, gate.predecessor_has(0, Uptime::now(), store))
        });
        match adopted {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                OPEN = count,
                "{} open that an earlier process handed over",
                clause(count, "connection", ("is still", "are still"))
            ),
            Err(error) => tracing::error!(
                ERROR = %error,
                "connections that an earlier process handed over cannot be counted ({error}): a lock \
                 may be granted while some are open"
            ),
        }
    }

    /// So many of them have ended.
    pub(in crate::proxy) fn orphans_closed(&self, count: usize) {
        for _ in 0..count {
            self.closed();
        }
    }

    /// What is to be said of each of them. They are not ours to end, and have no number.
    pub(in crate::proxy) fn list_orphans(&self) -> Vec<ConnectionStatus> {
        let one = ConnectionStatus {
            id: 0,
            peer: "unknown".to_owned(),
            upstream: Some("handed over by an earlier process".to_owned()),
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 0,
            sent_bytes: 0,
        };
        vec![one; self.handover.orphans()]
    }
}
