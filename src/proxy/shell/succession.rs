//! The place of a process: taken over from the one before, left to the one after.

use std::io;

use super::Proxy;
use crate::proxy::connections::Abort;
use crate::proxy::event;
use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::words::clause;

impl Proxy {
    /// The process has taken over from another one, in which so many connections are open.
    pub(in crate::proxy) fn took_over(&self, open: usize) {
        let taken = self.with_gate(|gate, store| (gate.took_over(open, store), Vec::new()));
        if let Err(error) = taken {
            tracing::error!(
                ERROR = %error,
                "the lock could not be rewritten ({error}): after a restart the proxy would end \
                 with the lease of the lock; lock again with --at-lease-end open, or unlock"
            );
        }
    }

    /// So many connections are still open in the process that was taken over.
    pub(in crate::proxy) fn predecessor_has(&self, open: usize) {
        self.with_gate(|gate, store| ((), gate.predecessor_has(open, Uptime::now(), store)));
    }

    /// Waits until the process that was taken over is to cut its connections.
    pub(in crate::proxy) async fn predecessor_is_cut(&self) {
        self.cut_predecessor.notified().await;
    }

    /// Leaves the place to another process if `tell` could tell it so: as one step, so that either
    /// both know or nothing has changed. `tell` gets the number of connections that are open here.
    ///
    /// # Errors
    ///
    /// That of `tell`.
    pub(in crate::proxy) fn retire(
        &self,
        tell: impl FnOnce(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut held = self.gate();
        tell(held.0.open())?;
        held.0.retire();
        held.leave_doors();
        let open = held.0.open();
        drop(held);
        self.workers().retire();
        let listeners = std::mem::take(&mut *self.listeners_mut());
        listeners.iter().for_each(Listener::leave);
        tracing::info!(
            MESSAGE_ID = event::RETIRED,
            OPEN = open,
            "another process has taken over: it accepts from now on, {} here",
            clause(open, "connection", ("goes on", "go on"))
        );
        self.woken.notify_one();
        self.changes.send_replace(());
        Ok(())
    }

    /// Ends all open connections, here and in the process that was taken over.
    pub(in crate::proxy) fn cut_all(&self, why: Abort) {
        self.connections.abort_all(why);
        let orphans = self.handover.orphans();
        if orphans > 0 {
            tracing::warn!(
                OPEN = orphans,
                "{} cut: an earlier process handed clients over, and only who serves them can end \
                 that (restart that service)",
                clause(orphans, "connection", ("cannot be", "cannot be"))
            );
        }
        self.cut_predecessor.notify_one();
    }
}
