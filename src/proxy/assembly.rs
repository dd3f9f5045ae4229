//! The proxy: all its parts together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::admission::Admission;
use super::connections::{Abort, Cuts, Sweep};
use super::event;
use super::last_will::LastWill;
use super::returns;
use super::route::Route;
use super::unparked::Unparked;
use super::workers::{Threads, Workers};
use crate::interface::{ConnectionStatus, ListenerStatus, LockStatus, Status};
use crate::service::clock::{Uptime, micros};
use crate::service::listener::Listener;
use crate::service::plural::clause;

/// What was made for many connections handed over at a time is given up when it was not needed for
/// that long.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// What becomes of open connections at the end of the process, if they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// They end with it.
    Nothing,
    /// They go on in the next process.
    ToNext,
    /// And the last will becomes that one, if it can.
    ToHeir,
}

/// A proxy that is running.
#[derive(Debug)]
pub struct Proxy {
    /// The gate and the connections that it has let in.
    pub admission: Arc<Admission>,
    /// Where they go.
    pub route: Arc<Route>,
    /// The threads that carry them.
    pub(super) workers: Workers,
    pub(super) unparked: Unparked,
    pub(super) last_will: LastWill,
    sweep: Sweep,
    /// Wakes the task that has the predecessor cut its connections.
    predecessor_cut: Notify,
}

impl Proxy {
    /// Assembles a proxy with at most these threads. None of them runs yet.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn new(route: Arc<Route>, threads: Threads, sweep: Sweep) -> io::Result<Self> {
        Ok(Self {
            admission: Arc::clone(&route.admission),
            workers: Workers::new(Arc::clone(&route), threads)?,
            route,
            unparked: Unparked::default(),
            last_will: LastWill::default(),
            sweep,
            predecessor_cut: Notify::new(),
        })
    }

    /// Does what is due. Returns when the next thing will be.
    pub(super) fn tick(&self, now: Uptime) -> Option<Uptime> {
        let sweep = self.admission.connections.sweep(&self.sweep, now);
        let keep = self.admission.keep();
        let unparked = keep.and_then(|keep| self.unparked.park(keep, now));
        let may_end = keep.filter(|_| !self.admission.is_leaving());
        let last_will = may_end.and_then(|keep| self.last_will.look_after(keep, now));
        if !self.admission.look(|gate| gate.may_accept()) {
            self.admission.backlog.watch();
        }
        [self.admission.tick(now), sweep, unparked, last_will]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends connections that are to be cut, and gives up what handing over does not need any more, until the
    /// runtime ends.
    pub(super) async fn look_after_connections(self: Arc<Self>) {
        let mut every = tokio::time::interval(TRIM_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handover = &self.route.handover;
        loop {
            tokio::select! {
                _ = every.tick(), if handover.has_surplus() => handover.trim(),
                cuts = self.admission.connections.to_cut() => self.cut(cuts),
            }
        }
    }

    fn cut(&self, cuts: Cuts) {
        if cuts.relayed {
            self.workers.cut();
        }
        let handover = &self.route.handover;
        cuts.slots
            .into_iter()
            .for_each(|slot| returns::cut(handover, slot));
        if cuts.is_of_all {
            let orphans = handover.orphans();
            if orphans > 0 {
                tracing::warn!(
                    OPEN = orphans,
                    "{} cut: an earlier process handed clients over, and only who serves them can end \
                     that (restart that service)",
                    clause(orphans, "connection", ("cannot be", "cannot be"))
                );
            }
            self.predecessor_cut.notify_one();
        }
    }

    /// Ends all open connections, here and in the process that was taken over.
    pub(super) fn cut_all(&self, why: Abort) {
        self.admission.connections.abort_all(why);
    }

    /// Waits until the process that was taken over is to cut its connections. Cancel safe.
    pub(super) async fn predecessor_is_cut(&self) {
        self.predecessor_cut.notified().await;
    }

    /// The process has taken over from another one, in which `open` connections are open.
    pub(super) fn took_over(&self, open: usize) {
        let taken = self
            .admission
            .with_gate(|gate, store| (gate.took_over(open, store), Vec::new()));
        if let Err(error) = taken {
            tracing::error!(
                ERROR = %error,
                "the lock could not be rewritten ({error}): after a restart the proxy would end \
                 with the lease of the lock; lock again with --at-lease-end open, or unlock"
            );
        }
    }

    /// `open` connections are still open in the process that was taken over.
    pub(super) fn predecessor_has(&self, open: usize) {
        self.admission
            .with_gate(|gate, store| ((), gate.predecessor_has(open, Uptime::now(), store)));
    }

    /// Counts the connections that an earlier process handed over and that are still open, instead
    /// of those that the process which was taken over had: it has ended, if there was one. It is one
    /// step, so that the count is never too small.
    pub(super) fn adopt_orphans(&self) {
        let adopted = self.admission.with_gate(|gate, store| {
            let found = self.route.handover.adopt();
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

    /// Leaves the place to another process if `reply` could be sent to it.
    ///
    /// # Errors
    ///
    /// That of `reply`: then nothing has changed.
    pub(super) fn retire(&self, reply: impl FnOnce(usize) -> io::Result<()>) -> io::Result<()> {
        let open = self.admission.retire(reply)?;
        self.workers.retire();
        self.admission.backlog.leave();
        tracing::info!(
            MESSAGE_ID = event::RETIRED,
            OPEN = open,
            "another process has taken over: it accepts from now on, {} here",
            clause(open, "connection", ("goes on", "go on"))
        );
        self.admission.wakers.wake_life_cycle();
        self.admission.wakers.wake_calls();
        Ok(())
    }

    /// Ends the threads. What they carried ends with them, unless it is kept and left to the next process.
    /// Returns whether something was left.
    pub(super) fn end(&self, leaving: Leaving) -> bool {
        let stopped = self.workers.stop();
        let Some(keep) = self.admission.keep() else {
            return false;
        };
        if leaving != Leaving::Nothing && self.admission.open() > 0 {
            self.admission.leave(keep);
            std::mem::forget(stopped);
            keep.leave(leaving == Leaving::ToHeir);
            return true;
        }
        drop(stopped);
        if let Err(error) = keep.forget() {
            tracing::error!(ERROR = %error, "systemd keeps what nobody needs: {error}");
        }
        false
    }

    /// The state of the proxy at this moment.
    pub fn status(&self) -> Status {
        let connections = &self.admission.connections;
        let (received_bytes, sent_bytes) = connections.carried();
        let listeners = self.admission.backlog.listeners();
        let listeners: Vec<ListenerStatus> = listeners.iter().map(listener_status).collect();
        let target = self.route.target().map(|target| target.to_string());
        self.admission.look(|gate| Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            gate: gate.state(),
            lock: gate.lock_record().map(|record| LockStatus {
                reason: record.reason.clone(),
                since_usec: record.since_usec,
                lease_left_usec: record
                    .lease_until
                    .map(|until| micros(until.since(Uptime::now()))),
                at_lease_end: record.at_lease_end,
                callers: gate.callers(),
                kept: record.kept,
            }),
            target,
            target_fixed: self.route.settings.target_fixed,
            open: gate.open(),
            open_in_predecessor: gate.open_in_predecessor(),
            connections_max: gate.connections_max(),
            queued: listeners
                .iter()
                .filter_map(|listener| listener.waiting)
                .sum(),
            accepted: connections.accepted(),
            unreachable: self.route.unreachable(),
            refused: connections.refused(),
            received_bytes,
            sent_bytes,
            listeners,
        })
    }

    /// The open connections. Those that an earlier process handed over are not ours to end, and have no number.
    pub fn list_connections(&self) -> Vec<ConnectionStatus> {
        let mut all = self.admission.connections.list(Uptime::now());
        let orphan = ConnectionStatus {
            id: 0,
            peer: "unknown".to_owned(),
            upstream: Some("handed over by an earlier process".to_owned()),
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 0,
            sent_bytes: 0,
        };
        all.extend(vec![orphan; self.route.handover.orphans()]);
        all
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
