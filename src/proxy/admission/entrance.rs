//! Admission: the gate, and what an admitted client holds until its connection has ended.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::backlog::Backlog;
use super::connections::{Abort, Connection, Connections, Source};
use super::doors::Doors;
use super::drains::Drains;
use super::gate::{Attaching, CallerId, Gate, LockRequest, LockStore, Notice, Outcome};
use super::notices;
use super::state::LockDirectory;
use super::survived::SurvivalRecord;
use super::views::{GateAndDoors, GateProgress, GateViews};
use super::wakers::Wakers;
use crate::interface::GateState;
use crate::proxy::event;
use crate::proxy::keep::Keep;
use crate::service::clock::{Uptime, realtime_micros};
use crate::service::ending;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::mutex;
use crate::service::plural::{clause, count};
use crate::service::program::Failure;

/// [`Keep::tidy`] is called after this many ends, or after twice as many as clients are connected if that is
/// more, so that the work for each is bounded. Soon, while the memory is in a cache.
const TIDY_AFTER: u64 = 64;

/// How long the gate has been closed, by the time of day: the lock may be an earlier process's.
fn time_since_lock(gate: &Gate) -> Duration {
    let since = gate.lock_record().map(|record| record.since_usec);
    let ago = since.and_then(|since| realtime_micros().checked_sub(since));
    Duration::from_micros(ago.unwrap_or_default())
}

/// The result of [`Admission::admit`].
#[derive(Debug)]
pub enum AdmitOutcome {
    /// A client is admitted and counted.
    Admitted(Arc<Connection>),
    /// The client is this proxy itself.
    Own(Arrival),
    /// The source of the client has as many connections as it may: this number.
    Full(Arrival, Source, usize),
    /// The client has gone already.
    Gone,
    /// No client waits, or none may be accepted.
    NoClient,
    /// No descriptors or memory are left.
    Exhausted(io::Error),
}

/// The gate with its lock file, the connections that it has let in, and the parts of the process that wait
/// for a change. The gate is changed only here.
#[derive(Debug)]
pub struct Admission {
    pub connections: Connections,
    pub backlog: Backlog,
    pub wakers: Wakers,
    pub drains: Drains,
    pub survived: SurvivalRecord,
    /// What connections are kept with, if they are.
    pub keep: Option<Keep>,
    gate: Mutex<GateAndDoors>,
    /// Follows the gate while its mutex is locked, so that no thread begins a request that would be held.
    pub(super) is_detaching: AtomicBool,
    is_leaving: AtomicBool,
    ends_since_tidy: AtomicU64,
    failure: OnceLock<String>,
    callers: AtomicU64,
}

impl Admission {
    /// Admission from these listeners, with the lock that an earlier process has left.
    pub fn new(
        listeners: Arc<[Listener]>,
        connections_max: usize,
        connections_max_per_source: Option<usize>,
        lock: LockDirectory,
        keep: Option<Keep>,
    ) -> Self {
        let gate = Gate::new(connections_max, lock.load(), Uptime::now());
        let attaching = gate.attaching();
        if let Some(record) = gate.lock_record() {
            let reason = record.reason.as_deref().unwrap_or("no reason given");
            tracing::info!(GATE = "locked", "locked by an earlier process: {reason}");
        }
        Self {
            connections: Connections::new(connections_max_per_source),
            backlog: Backlog::new(listeners),
            wakers: Wakers::default(),
            drains: Drains::default(),
            survived: SurvivalRecord::default(),
            keep,
            gate: Mutex::new(GateAndDoors {
                gate,
                lock,
                doors: None,
                attaching,
            }),
            is_detaching: AtomicBool::new(attaching == Attaching::Later),
            is_leaving: AtomicBool::new(false),
            ends_since_tidy: AtomicU64::new(0),
            failure: OnceLock::new(),
            callers: AtomicU64::new(0),
        }
    }

    /// Runs `f` while the mutex is locked, and has the doors and the detached clients follow the gate, so that no code
    /// can forget to.
    pub(super) fn locked<T>(&self, f: impl FnOnce(&mut GateAndDoors) -> T) -> T {
        let mut guard = mutex::lock(&self.gate);
        let result = f(&mut guard);
        if guard.follow() {
            let is_detaching = guard.attaching == Attaching::Later;
            self.is_detaching.store(is_detaching, Relaxed);
            self.wakers.gate_turned();
        }
        result
    }

    /// Runs `f` on the gate, as one step, and acts on its notices. Only a change wakes the parts of the
    /// process that wait for one: the life cycle's loop calls this in every turn.
    pub fn with_gate<T>(
        &self,
        f: impl FnOnce(&mut Gate, &mut dyn LockStore) -> (T, Vec<Notice>),
    ) -> T {
        let (before, after, result, notices, copy) =
            self.locked(|GateAndDoors { gate, lock, .. }| {
                let before = GateViews::of(gate);
                let (result, notices) = f(gate, lock);
                let copy = (!notices.is_empty()).then(|| gate.clone());
                (before, GateViews::of(gate), result, notices, copy)
            });
        let has_notices = copy.is_some();
        if let Some(gate) = copy {
            self.act(&notices, &gate);
        }
        if has_notices || before.life_cycle != after.life_cycle {
            self.wakers.wake_life_cycle();
        }
        if (has_notices || before != after)
            && (after.progress.state != GateState::Open || self.wakers.has_calls())
        {
            self.wakers.wake_calls();
        }
        result
    }

    /// Runs `f` on the gate and wakes no thread.
    pub fn with_gate_silently<T>(&self, f: impl FnOnce(&mut Gate) -> T) -> T {
        self.locked(|inner| f(&mut inner.gate))
    }

    pub fn read_gate<T>(&self, f: impl FnOnce(&Gate) -> T) -> T {
        self.locked(|inner| f(&inner.gate))
    }

    pub fn lock_directory(&self) -> Option<std::path::PathBuf> {
        self.locked(|inner| inner.lock.directory())
    }

    fn act(&self, notices: &[Notice], gate: &Gate) {
        let queued = self.backlog.waiting();
        for notice in notices {
            notices::log(notice, gate, queued);
            match notice {
                Notice::Force => self.connections.abort_all(Abort::Forced),
                Notice::Opened(_) => self.backlog.gate_opened(),
                Notice::Locked => self.connections.closed_idle.store(0, Relaxed),
                Notice::Drained => self.drains.add(time_since_lock(gate)),
                Notice::Ended | Notice::RecordLeft(_) => {}
            }
        }
    }

    /// Accepts one client and counts it, as one step, so that the gate cannot close in between. Resets one whose
    /// source has as many connections as it may. Fails if the listener is broken.
    pub fn admit(
        &self,
        listener: &Listener,
        is_own: impl FnOnce(&Arrival) -> bool,
    ) -> io::Result<AdmitOutcome> {
        // Other threads wait for the mutex when a connection ends, so it is unlocked as soon as possible.
        let outcome: io::Result<AdmitOutcome> = self.locked(|inner| {
            if !inner.gate.may_accept() {
                return Ok(AdmitOutcome::NoClient);
            }
            let client = match listener.accept_now()? {
                Accepted::Client(client) => client,
                Accepted::Gone => return Ok(AdmitOutcome::Gone),
                Accepted::NoClient => return Ok(AdmitOutcome::NoClient),
                Accepted::Exhausted(error) => return Ok(AdmitOutcome::Exhausted(error)),
            };
            if is_own(&client) {
                return Ok(AdmitOutcome::Own(client));
            }
            let sources = self.connections.sources();
            if let Some((source, open)) = sources.and_then(|sources| sources.full(&client.peer)) {
                return Ok(AdmitOutcome::Full(client, source, open));
            }
            inner.gate.accepted();
            let slot = self.keep.and_then(|keep| keep.claim());
            let connection = self.connections.add(client, slot);
            Ok(AdmitOutcome::Admitted(connection))
        });
        match &outcome {
            Ok(AdmitOutcome::Admitted(_)) => self.wakers.count_changed(),
            Ok(AdmitOutcome::Full(client, source, open)) => self.refuse(client, source, *open),
            _ => {}
        }
        outcome
    }

    /// Resets a client whose source has as many connections as it may, so that others do not wait behind it.
    fn refuse(&self, client: &Arrival, source: &Source, open: usize) {
        ending::reset_on_close(&client.socket);
        let sources = self.connections.sources();
        let Some(refused) = sources.and_then(|mut sources| sources.refuse(Uptime::now())) else {
            return;
        };
        let peer = &client.peer;
        tracing::warn!(
            MESSAGE_ID = event::REFUSED, PEER = %peer, SOURCE = %source, OPEN = open, REFUSED = refused,
            "client {peer} was reset: {source} has {}, as many as --connections-max-per-source allows \
             ({} so since this was said the last time)",
            count(open, "open connection"),
            clause(refused, "client", ("was reset", "were reset"))
        );
    }

    /// Uncounts a connection, whose sockets are closed.
    pub fn closed(&self) {
        let connected = self.with_gate(|gate, store| {
            let notices = gate.closed(Uptime::now(), store);
            (gate.connected(), notices)
        });
        self.count_end(connected);
    }

    /// Counts the end of a connection while `connected` others are left, and keeps the store tidy.
    pub(super) fn count_end(&self, connected: usize) {
        self.wakers.count_changed();
        if let Some(keep) = self.keep {
            let ends = self.ends_since_tidy.fetch_add(1, Relaxed) + 1;
            if ends >= TIDY_AFTER.max(2 * connected as u64) {
                self.ends_since_tidy.store(0, Relaxed);
                keep.tidy();
            }
        }
    }

    /// Does what is due. Returns the time of the next call.
    pub fn tick(&self, now: Uptime) -> Option<Uptime> {
        self.with_gate(|gate, store| {
            let notices = gate.tick(now, store);
            (gate.next_deadline(), notices)
        })
    }

    pub fn open_connections(&self) -> usize {
        self.read_gate(Gate::open_connections)
    }

    pub fn progress(&self) -> GateProgress {
        self.read_gate(GateProgress::of)
    }

    /// Closes the gate, see [`Gate::lock`]. Returns a number for the caller. Fails if the lock cannot be written.
    pub fn lock(&self, request: LockRequest) -> io::Result<CallerId> {
        let caller = CallerId(self.callers.fetch_add(1, Relaxed));
        self.with_gate(
            |gate, store| match gate.lock(caller, request, Uptime::now(), store) {
                Ok(notices) => (Ok(caller), notices),
                Err(error) => (Err(error), Vec::new()),
            },
        )
    }

    /// Opens the gate. Returns why the record of the lock could not be removed, if it could not.
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

    /// [`Self::progress`], and at the same moment the outcome of a caller's wait; `None` while it waits.
    pub fn drain_progress(&self, caller: CallerId) -> (GateProgress, Option<Outcome>) {
        self.read_gate(|gate| (GateProgress::of(gate), gate.outcome(caller).cloned()))
    }

    /// The caller was answered, or has left.
    pub fn caller_gone(&self, caller: CallerId) {
        self.with_gate(|gate, store| ((), gate.caller_gone(caller, store)));
    }

    /// Opens these doors whenever the gate is open.
    pub fn set_doors(&self, doors: Doors) {
        self.locked(|inner| inner.doors = Some(doors));
    }

    /// Whether a client that waits would be accepted: the gate allows it, and accepting does not pause.
    pub fn may_accept(&self) -> bool {
        self.locked(|GateAndDoors { gate, doors, .. }| {
            gate.may_accept() && !doors.as_ref().is_some_and(|doors| doors.is_paused)
        })
    }

    /// Pauses accepting, or ends the pause.
    pub fn set_accepting_paused(&self, is_paused: bool) {
        self.locked(|inner| {
            let doors = inner.doors.iter_mut();
            doors.for_each(|doors| doors.is_paused = is_paused);
        });
    }

    /// Leaves the listeners to another process if `reply`, which gets the number of clients that are connected
    /// here, could be sent. For the other process also those that are detached are open until they leave, or until it has
    /// taken them, which it does if `passes_on`. That is one step: either both processes know it, or nothing has
    /// changed. Returns that number, or the error of `reply`.
    pub fn retire(
        &self,
        passes_on: bool,
        reply: impl FnOnce(usize) -> io::Result<()>,
    ) -> io::Result<usize> {
        self.locked(|inner| {
            let connected = inner.gate.connected();
            reply(connected)?;
            inner.gate.retire(passes_on);
            inner.doors.iter_mut().for_each(Doors::leave);
            Ok(connected)
        })
    }

    /// Ends the process, for this reason.
    pub fn fail(&self, sentence: String) {
        if self.failure.set(sentence).is_ok() {
            self.with_gate_silently(Gate::stopping);
            self.wakers.wake_life_cycle();
        }
    }

    /// Why the process has to end, if it has.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.get().map(|sentence| sentence.as_str().into())
    }

    /// Leaves the open connections to the next process.
    pub fn leave(&self, keep: Keep) {
        self.is_leaving.store(true, Relaxed);
        self.connections.park_all(keep);
        // As long as they are open, the heir also gets those for which there was no room.
        self.connections.stay_open();
    }

    /// Whether the open connections are left to the next process.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// Removes a connection that is about to be closed, unless it continues in the next process.
    pub fn remove(&self, connection: &Connection) {
        self.connections.remove(connection);
        if let Some(keep) = self.keep.filter(|_| !self.is_leaving()) {
            connection.conclude(keep);
        }
    }
}
