//! The proxy: all its parts together.

mod health_sockets;
pub mod last_will;
mod trouble;
mod unparked;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::admission::{Admission, AdmittedClient, Attaching, Cuts, Gate, Sweep};
use super::event;
use super::route::Route;
use super::workers::{self, Threads, WorkerPool};
use crate::interface::{ConnectionStatus, ListenerStatus, LockStatus, PassedClient, Status};
use crate::service::clock::{Repetition, Uptime, micros};
use crate::service::listener::Listener;
use crate::service::plural::clause;
use crate::service::variables::UnknownVariable;
use crate::service::version::version;
use health_sockets::HealthSockets;
use last_will::LastWill;
use unparked::UnparkedConnections;

/// How often the slots that handover does not need any more are given up.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked for connections that have been idle for `limit`.
fn part_of(limit: Duration) -> Duration {
    (limit / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// What becomes of kept connections at the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// They end with the process.
    None,
    /// They continue in the next process.
    NextProcess,
    /// They continue in the heir, if the last will can become it.
    Heir,
}

#[derive(Debug)]
pub struct Proxy {
    pub admission: Arc<Admission>,
    pub route: Arc<Route>,
    pub workers: Arc<WorkerPool>,
    /// The sockets on which load balancers ask whether clients pass.
    pub health: HealthSockets,
    /// The guardian of kept connections.
    pub last_will: LastWill,
    unparked: UnparkedConnections,
    sweep: Sweep,
    idle_closing: Repetition,
    idle_detaching: Repetition,
    /// Wakes the task that has the predecessor cut its connections.
    predecessor_cut: Notify,
    ignored_variables: OnceLock<Vec<String>>,
}

impl Proxy {
    /// Assembles a proxy with at most these threads, none of which runs yet. Fails without descriptors.
    pub fn new(
        route: Arc<Route>,
        threads: Threads,
        sweep: Sweep,
        health: Vec<Listener>,
    ) -> io::Result<Self> {
        Ok(Self {
            health: HealthSockets::new(health),
            admission: Arc::clone(&route.admission),
            workers: workers::pool(Arc::clone(&route), threads)?,
            route,
            unparked: UnparkedConnections::default(),
            last_will: LastWill::default(),
            sweep,
            idle_closing: Repetition::default(),
            idle_detaching: Repetition::default(),
            predecessor_cut: Notify::new(),
            ignored_variables: OnceLock::new(),
        })
    }

    /// Has the status show variables that belong to no option. To be called once.
    pub fn show_ignored(&self, variables: &[UnknownVariable]) {
        let sentences = variables.iter().map(ToString::to_string).collect();
        let _ = self.ignored_variables.set(sentences);
    }

    /// Does what is due. Returns the time of the next call.
    pub fn tick(&self, now: Uptime) -> Option<Uptime> {
        let sweep = self.admission.connections.sweep(&self.sweep, now);
        let keep = self.admission.keep;
        let unparked = keep.and_then(|keep| self.unparked.park(keep, now));
        let last_will = keep
            .filter(|_| !self.admission.is_leaving())
            .and_then(|keep| self.last_will.renew(keep, now));
        if !self.admission.may_accept() {
            self.admission.backlog.watch(now);
        }
        [
            self.admission.tick(now),
            sweep,
            unparked,
            last_will,
            self.close_idle(now),
            self.detach_idle(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends connections that are idle, if a drain is to. Returns the time of the next call.
    fn close_idle(&self, now: Uptime) -> Option<Uptime> {
        let limit = self.admission.read_gate(Gate::close_idle)?;
        let (is_due, next) = self.idle_closing.is_due(part_of(limit), now);
        if is_due {
            self.workers.close_idle(limit);
        }
        Some(next)
    }

    /// Detaches clients that have been between two requests for long enough. Returns the time of the next call.
    fn detach_idle(&self, now: Uptime) -> Option<Uptime> {
        let limit = self.route.settings.detach_idle?;
        let (is_due, next) = self.idle_detaching.is_due(part_of(limit), now);
        if is_due {
            self.workers.detach_idle(limit);
        }
        Some(next)
    }

    /// Ends connections that are to be cut, and gives up the slots that handover does not need any more, until
    /// the runtime ends.
    pub async fn look_after_connections(self: Arc<Self>) {
        let mut every = tokio::time::interval(TRIM_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handover = &self.route.handover;
        self.gate_turned();
        loop {
            tokio::select! {
                _ = every.tick(), if handover.has_surplus() => handover.trim(),
                cuts = self.admission.connections.to_cut() => self.cut(cuts),
                () = self.admission.wakers.turned() => self.gate_turned(),
            }
        }
    }

    /// Tells the threads when detached clients get an upstream.
    fn gate_turned(&self) {
        let is_leaving = self.admission.keep.is_some();
        match self.admission.read_gate(Gate::attaching) {
            // They are left to the next process.
            Attaching::Never if is_leaving => {}
            when => self.workers.attach(when),
        }
    }

    fn cut(&self, cuts: Cuts) {
        if cuts.relayed {
            self.workers.cut();
        }
        let handover = &self.route.handover;
        cuts.slots.into_iter().for_each(|slot| handover.cut(slot));
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

    /// Waits until the predecessor has to cut its connections. Cancel safe.
    pub async fn predecessor_is_cut(&self) {
        self.predecessor_cut.notified().await;
    }

    /// Counts the `open` connections of the predecessor, which has just retired.
    pub fn took_over(&self, open: usize) {
        let rewritten = self
            .admission
            .with_gate(|gate, store| (gate.took_over(open, store), Vec::new()));
        if let Err(error) = rewritten {
            tracing::error!(
                ERROR = %error,
                "the lock could not be rewritten ({error}): after a restart the proxy would end \
                 with the lease of the lock; lock again with --at-lease-end open, or unlock"
            );
        }
    }

    /// Continues with detached clients that the predecessor has passed on.
    pub fn adopt_passed(&self, passed: impl Iterator<Item = (OwnedFd, PassedClient)>) {
        for client in self.admission.adopt_passed(passed) {
            self.workers.resume_detached(client);
        }
    }

    /// Counts the connections that are still open in the predecessor.
    pub fn predecessor_has(&self, open: usize) {
        self.admission
            .with_gate(|gate, store| ((), gate.predecessor_has(open, Uptime::now(), store)));
    }

    /// Counts the open connections that an earlier process handed over, instead of those of the predecessor,
    /// which has ended, if there was one. It is one step, so that the count is never too small.
    pub fn adopt_orphans(&self) {
        let count = self.admission.with_gate(|gate, store| {
            let count = self.route.handover.adopt();
            gate.adopt(*count.as_ref().unwrap_or(&0));
            (count, gate.predecessor_has(0, Uptime::now(), store))
        });
        match count {
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

    /// Whether detached clients can be passed on to a process that recognises requests in this way.
    pub fn can_pass_on_to(&self, requests: Option<&str>) -> bool {
        let ours = self.route.settings.requests.map(|kind| kind.to_string());
        // What systemd keeps cannot be taken out at once.
        ours.is_some() && ours.as_deref() == requests && self.admission.keep.is_none()
    }

    /// Retires in favour of another process if `reply` could be sent to it; `passes_on`: it takes the detached clients.
    /// Otherwise nothing changes; returns the error of `reply`.
    pub fn retire(
        &self,
        passes_on: bool,
        reply: impl FnOnce(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let open = self.admission.retire(passes_on, reply)?;
        self.workers.retire();
        if passes_on {
            self.workers.begin_passing_on();
        }
        self.admission.backlog.leave();
        self.health.leave();
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

    /// The successor takes no more detached clients, and not these: they get their upstreams here.
    pub fn stop_passing_on(&self, clients: Vec<AdmittedClient>) {
        self.workers.stop_passing_on(clients);
        self.admission.with_gate_silently(Gate::stop_passing_on);
    }

    /// Ends the threads, and their connections unless these are kept and left to the next process. Returns
    /// whether some were left.
    pub fn end(&self, continuation: Continuation) -> bool {
        let remains = self.workers.stop();
        let Some(keep) = self.admission.keep else {
            return false;
        };
        if continuation != Continuation::None && self.admission.read_gate(Gate::connected) > 0 {
            self.admission.leave(keep);
            std::mem::forget(remains);
            keep.leave(continuation == Continuation::Heir);
            return true;
        }
        drop(remains);
        if let Err(error) = keep.forget() {
            tracing::error!(ERROR = %error, "systemd keeps what nobody needs: {error}");
        }
        false
    }

    pub fn status(&self) -> Status {
        let connections = &self.admission.connections;
        let (received_bytes, sent_bytes) = connections.carried();
        let listeners = self.admission.backlog.listeners();
        let listeners: Vec<ListenerStatus> = listeners.iter().map(listener_status).collect();
        let target = self.route.target().map(|target| target.to_string());
        let (upstream, connecting) = (self.route.upstream.status(), connections.connecting());
        self.admission.read_gate(|gate| Status {
            version: version().to_owned(),
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
            upstream,
            requests: self.route.settings.requests.map(|kind| kind.to_string()),
            open: gate.open_connections(),
            open_in_predecessor: gate.open_in_predecessor(),
            connecting,
            detached: gate.detached_connections(),
            connections_max: gate.connections_max(),
            queued: listeners
                .iter()
                .filter_map(|listener| listener.waiting)
                .sum(),
            accepted: connections.accepted(),
            unreachable: self.route.unreachable(),
            refused: connections.refused(),
            repeated: connections.repeated.load(Relaxed),
            received_bytes,
            sent_bytes,
            survived: self.admission.survived.counts(),
            listeners,
            ignored_variables: self.ignored_variables.get().cloned().unwrap_or_default(),
        })
    }

    /// That the upstream is not reached, as a sentence; `None` if it is, or nothing is known.
    pub fn trouble(&self) -> Option<String> {
        if !self.route.upstream.is_failing() {
            return None;
        }
        let upstream = self.route.upstream.status()?;
        trouble::sentence(&upstream, self.admission.connections.connecting())
    }

    /// The open connections. Those that an earlier process handed over cannot be ended here, and have no number.
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
            detached: false,
            opaque: None,
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
