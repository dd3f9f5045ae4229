//! Clients that stay connected without an upstream, between two requests.

use std::sync::atomic::Ordering::Relaxed;

use super::connections::Connection;
use super::entrance::Admission;
use crate::service::clock::Uptime;

impl Admission {
    /// Whether a client is detached as soon as it is between two requests.
    pub fn is_detaching(&self) -> bool {
        self.is_detaching.load(Relaxed)
    }

    /// The upstream of this connection has ended, and its client stays. That may complete a drain.
    pub fn detached(&self, connection: &Connection) {
        self.with_gate(|gate, store| {
            connection.set_detached(true);
            ((), gate.detached(Uptime::now(), store))
        });
        self.wakers.count_changed();
    }

    /// Counts a detached client as open if it may get an upstream now, as one step, so that the gate cannot close in
    /// between. Returns whether it does; if not, [`Wakers::turned`](super::wakers::Wakers::turned) tells when to ask
    /// again.
    pub fn try_attach(&self, connection: &Connection) -> bool {
        let is_attached = self.with_gate(|gate, _| {
            let may_attach = gate.may_attach();
            if may_attach {
                gate.attached();
                connection.set_detached(false);
            }
            (may_attach, Vec::new())
        });
        if is_attached {
            self.wakers.count_changed();
        }
        is_attached
    }

    /// A detached client has left, and its socket is closed.
    pub(super) fn detached_gone(&self) {
        let connected = self.with_gate(|gate, _| {
            gate.detached_gone();
            (gate.connected(), Vec::new())
        });
        self.count_end(connected);
    }

    /// Counts a client that an earlier process has left detached.
    pub fn adopt_detached(&self, connection: &Connection) {
        self.with_gate_silently(|gate| {
            connection.set_detached(true);
            gate.adopt_detached(1);
        });
    }
}
