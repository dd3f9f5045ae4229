//! Admission: the gate, and what an admitted client holds until its connection has ended.

pub(in crate::proxy) mod backlog;
mod guard;
mod notices;
pub(in crate::proxy) mod wakers;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::connections::{Abort, Connection, Connections, Source};
use super::event;
use super::gate::{CallerId, Gate, LockRequest, LockStore, Notice, Outcome};
use super::keep::{Keep, Slot};
use super::state::LockDirectory;
use crate::interface::GateState;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::plural::{clause, count};
use crate::service::program::Failure;
use backlog::Backlog;
pub use guard::Doors;
use guard::{GateGuard, Guarded};
use wakers::Wakers;

/// What the kernel holds for connections that have ended goes after that many ends, or after twice as many
/// as are open if that is more: so the work for each is bounded. Soon, while it is still warm.
const TIDY_AFTER: u64 = 64;

/// The attempt to accept a client.
#[derive(Debug)]
pub(in crate::proxy) enum Attempt {
    /// It is admitted and counted.
    Admitted(Arc<Connection>),
    /// A client that is this proxy itself.
    Own(Arrival),
    /// A client was accepted that had gone already, or that was refused.
    Gone,
    /// No client waits, or none may be accepted.
    Nobody,
    /// No descriptors or memory are left.
    Exhausted(io::Error),
}

/// The gate with its lock file, the connections that it has let in, and the wakers of the parts of the
/// process that wait for a change. The gate is changed here and nowhere else.
#[derive(Debug)]
pub struct Admission {
    /// The open connections.
    pub connections: Connections,
    /// The clients that wait.
    pub backlog: Backlog,
    /// The parts of the process that wait for a change.
    pub wakers: Wakers,
    gate: Mutex<Guarded>,
    keep: Option<Keep>,
    is_leaving: AtomicBool,
    /// Connections that have ended since the last tidying up.
    ended: AtomicU64,
    failure: OnceLock<String>,
    callers: AtomicU64,
}

impl Admission {
    /// Of these listeners, with the lock that an earlier process has left.
    pub fn new(
        listeners: Arc<[Listener]>,
        connections_max: usize,
        connections_max_per_source: Option<usize>,
        lock: LockDirectory,
        keep: Option<Keep>,
    ) -> Self {
        let gate = Gate::new(connections_max, lock.load(), Uptime::now());
        if let Some(record) = gate.lock_record() {
            let reason = record.reason.as_deref().unwrap_or("no reason given");
            tracing::info!(GATE = "locked", "locked by an earlier process: {reason}");
        }
        Self {
            connections: Connections::new(connections_max_per_source),
            backlog: Backlog::new(listeners),
            wakers: Wakers::default(),
            gate: Mutex::new(Guarded::new(gate, lock)),
            keep,
            is_leaving: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            failure: OnceLock::new(),
            callers: AtomicU64::new(0),
        }
    }

    fn guard(&self) -> GateGuard<'_> {
        // A thread panics while it holds the mutex only for a bug in the gate; going on is the better half.
        GateGuard::new(self.gate.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `f` on the gate, as one step, and acts on what came of it. The parts of the process that wait for
    /// a change are woken only by one: the life cycle's loop calls this in every turn.
    pub(in crate::proxy) fn with_gate<T>(
        &self,
        f: impl FnOnce(&mut Gate, &mut dyn LockStore) -> (T, Vec<Notice>),
    ) -> T {
        let mut guard = self.guard();
        let (gate, store) = guard.parts();
        let before = GateView::of(gate);
        let (result, notices) = f(gate, store);
        let after = GateView::of(gate);
        if !notices.is_empty() {
            let now = gate.clone();
            drop(guard);
            self.act(&notices, &now);
        } else {
            drop(guard);
        }
        if before != after || !notices.is_empty() {
            // The loop sleeps through connections that end, unless they change something for it.
            if before.for_life_cycle() != after.for_life_cycle() || !notices.is_empty() {
                self.wakers.wake_life_cycle();
            }
            if after.state != GateState::Open || self.wakers.has_calls() {
                self.wakers.wake_calls();
            }
        }
        result
    }

    /// Runs `f` on the gate and wakes nobody.
    pub(in crate::proxy) fn with_gate_silently<T>(&self, f: impl FnOnce(&mut Gate) -> T) -> T {
        f(self.guard().parts().0)
    }

    /// Looks at the gate.
    pub(in crate::proxy) fn look<T>(&self, f: impl FnOnce(&Gate) -> T) -> T {
        f(self.guard().gate())
    }

    /// Where the lock is written down.
    pub(in crate::proxy) fn lock_directory(&self) -> Option<std::path::PathBuf> {
        self.guard().lock_directory().directory()
    }

    fn act(&self, notices: &[Notice], gate: &Gate) {
        let queued = self.backlog.waiting();
        for notice in notices {
            notices::log(notice, gate, queued);
            match notice {
                Notice::Force => self.connections.abort_all(Abort::Forced),
                Notice::Opened(_) => self.backlog.drains(),
                Notice::Locked | Notice::Drained | Notice::Ended | Notice::RecordLeft(_) => {}
            }
        }
    }

    /// Accepts one client and counts it, as one step: nobody can close the gate in between.
    ///
    /// # Errors
    ///
    /// When the listener is broken.
    pub(in crate::proxy) fn admit(
        &self,
        listener: &Listener,
        slot: &mut Option<Slot>,
        is_own: impl FnOnce(&Arrival) -> bool,
    ) -> io::Result<Attempt> {
        // Connections that end on other threads wait for it, so it is held for no longer than it must.
        let mut guard = self.guard();
        if !guard.gate().may_accept() {
            return Ok(Attempt::Nobody);
        }
        let client = match listener.accept_now()? {
            Accepted::Client(client) => client,
            Accepted::Gone => return Ok(Attempt::Gone),
            Accepted::Nobody => return Ok(Attempt::Nobody),
            Accepted::Exhausted(error) => return Ok(Attempt::Exhausted(error)),
        };
        if is_own(&client) {
            return Ok(Attempt::Own(client));
        }
        if let Some((source, open)) = self.connections.full_source(&client.peer) {
            drop(guard);
            self.refuse(client, source, open);
            return Ok(Attempt::Gone);
        }
        guard.parts().0.accepted();
        let connection = self.connections.add(client, slot.take());
        drop(guard);
        self.wakers.count_changed();
        Ok(Attempt::Admitted(connection))
    }

    /// Resets a client whose source has as many connections as it may, so that others do not wait behind
    /// it.
    fn refuse(&self, client: Arrival, source: Source, open: usize) {
        ending::reset_on_close(&client.socket);
        let Some(refused) = self.connections.refuse(Uptime::now()) else {
            return;
        };
        let Arrival { peer, .. } = client;
        tracing::warn!(
            MESSAGE_ID = event::REFUSED, PEER = %peer, SOURCE = %source, OPEN = open, REFUSED = refused,
            "client {peer} was reset: {source} has {}, as many as --connections-max-per-source allows \
             ({} so since this was said the last time)",
            count(open, "open connection"),
            clause(refused, "client", ("was reset", "were reset"))
        );
    }

    /// A connection has ended, and both its sockets are closed.
    pub(in crate::proxy) fn closed(&self) {
        let open = self.with_gate(|gate, store| {
            let notices = gate.closed(Uptime::now(), store);
            (gate.open(), notices)
        });
        self.wakers.count_changed();
        if let Some(keep) = self.keep {
            let ended = self.ended.fetch_add(1, Relaxed) + 1;
            if ended >= TIDY_AFTER.max(2 * open as u64) {
                self.ended.store(0, Relaxed);
                keep.tidy();
            }
        }
    }

    /// Does what is due. Returns when the next thing will be.
    pub(in crate::proxy) fn tick(&self, now: Uptime) -> Option<Uptime> {
        self.with_gate(|gate, store| {
            let notices = gate.tick(now, store);
            (gate.next_deadline(), notices)
        })
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.look(Gate::open)
    }

    /// The gate, and the number of open connections.
    pub fn progress(&self) -> (GateState, usize) {
        self.look(|gate| (gate.state(), gate.open()))
    }

    /// A number for a caller of [`Self::lock`].
    pub fn new_caller(&self) -> CallerId {
        CallerId(self.callers.fetch_add(1, Relaxed))
    }

    /// Closes the gate, see [`Gate::lock`].
    ///
    /// # Errors
    ///
    /// When the lock could not be written down.
    pub fn lock(&self, caller: CallerId, request: LockRequest) -> io::Result<()> {
        self.with_gate(
            |gate, store| match gate.lock(caller, request, Uptime::now(), store) {
                Ok(notices) => (Ok(()), notices),
                Err(error) => (Err(error), Vec::new()),
            },
        )
    }

    /// Opens the gate; why the record of the lock could not be removed, if it could not.
    pub fn unlock(&self) -> Option<String> {
        self.with_gate(|gate, store| {
            let notices = gate.unlock(store);
            let left = notices.iter().find_map(|notice| match notice {
                Notice::RecordLeft(error) => Some(error.clone()),
                _ => None,
            });
            (left, notices)
        })
    }

    /// How the wait of a caller ended.
    pub fn outcome(&self, caller: CallerId) -> Option<Outcome> {
        self.look(|gate| gate.outcome(caller).cloned())
    }

    /// A caller has its answer, or has gone.
    pub fn caller_gone(&self, caller: CallerId) {
        self.with_gate(|gate, store| ((), gate.caller_gone(caller, store)));
    }

    /// Opens these doors whenever the gate lets clients in.
    pub(in crate::proxy) fn set_doors(&self, doors: Box<dyn Doors>) {
        self.guard().set_doors(doors);
    }

    /// Pauses accepting, or ends the pause.
    pub(in crate::proxy) fn set_accepting_paused(&self, paused: bool) {
        if let Some(doors) = self.guard().doors() {
            doors.set_paused(paused);
        }
    }

    /// Leaves the listeners to another process if `reply` could be sent to it: as one step, so that either
    /// both know or nothing has changed. `reply` gets the number of connections that are open here; so does
    /// the caller.
    ///
    /// # Errors
    ///
    /// That of `reply`.
    pub(in crate::proxy) fn retire(
        &self,
        reply: impl FnOnce(usize) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut guard = self.guard();
        let open = guard.gate().open();
        reply(open)?;
        guard.parts().0.retire();
        if let Some(doors) = guard.doors() {
            doors.leave();
        }
        Ok(open)
    }

    /// The process cannot go on, for this reason.
    pub(in crate::proxy) fn fail(&self, sentence: String) {
        if self.failure.set(sentence).is_ok() {
            self.with_gate_silently(Gate::stopping);
            self.wakers.wake_life_cycle();
        }
    }

    /// Why the process cannot go on.
    pub(in crate::proxy) fn failure(&self) -> Option<Failure> {
        self.failure.get().map(|sentence| sentence.as_str().into())
    }

    /// What connections are kept with, if they are.
    pub(in crate::proxy) fn keep(&self) -> Option<Keep> {
        self.keep
    }

    /// Leaves the open connections to the next process.
    pub(in crate::proxy) fn leave(&self, keep: Keep) {
        self.is_leaving.store(true, Relaxed);
        self.connections.park_all(keep);
        // The heir has also those for which there was no room, if they are open.
        self.connections.stay_open();
    }

    /// Whether the open connections are left to the next process.
    pub(in crate::proxy) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// A connection is about to be closed.
    pub(in crate::proxy) fn remove(&self, connection: Arc<Connection>) {
        self.connections.remove(&connection);
        if let Some(keep) = self.keep {
            if self.is_leaving() {
                // It goes on in the next process.
                return;
            }
            connection.conclude(keep);
        }
        let left = Arc::downgrade(&connection);
        drop(connection);
        debug_assert_eq!(left.strong_count(), 0, "its sockets are still open");
        self.closed();
    }
}

/// What the rest of the process sees of the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
struct GateView {
    state: GateState,
    open: usize,
    callers: usize,
    may_accept: bool,
    deadline: Option<Uptime>,
}

impl GateView {
    fn of(gate: &Gate) -> Self {
        Self {
            state: gate.state(),
            open: gate.open(),
            callers: gate.callers(),
            may_accept: gate.may_accept(),
            deadline: gate.next_deadline(),
        }
    }

    /// What the life cycle's loop decides by.
    fn for_life_cycle(&self) -> (bool, bool, Option<Uptime>) {
        (self.may_accept, self.open == 0, self.deadline)
    }
}
