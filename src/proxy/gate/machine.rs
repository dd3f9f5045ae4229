//! The state of the gate, and what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::Caller;
use super::words::{CallerId, LockRecord, Outcome};
use crate::interface::{GateState, LeaseEnd};
use crate::service::clock::Uptime;

/// How long a lock that belonged to waiting callers outlives a restart of the proxy, so that these
/// callers can come back; if none does, the lock is taken back.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A closed gate.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) record: LockRecord,
    /// A lock without callers that a restart found: how long its callers may take to come back.
    pub(super) grace_until: Option<Uptime>,
    pub(super) drained: bool,
}

/// The state machine. See [the module](super).
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) connections_max: usize,
    pub(super) own: usize,
    /// Connections of the process that was taken over, which count as ours until they have ended.
    pub(super) predecessor: usize,
    pub(super) has_target: bool,
    pub(super) stopping: bool,
    pub(super) resting: bool,
    pub(super) retired: bool,
    pub(super) lock: Option<Lock>,
    /// The record of a lock that is over could not be removed.
    pub(super) record_left: bool,
    pub(super) callers: BTreeMap<CallerId, Caller>,
}

impl Gate {
    /// A gate for at most `connections_max` connections, none of them open, with the lock that the
    /// process before wrote down. Without a target nobody passes.
    pub fn new(connections_max: usize, record: Option<LockRecord>, now: Uptime) -> Self {
        let lock = record.map(|mut record| {
            // The process that was to end then has ended in another way; we were started since.
            if record.lease_until.is_some_and(|until| until <= now) {
                record.at_lease_end = LeaseEnd::Open;
            }
            Lock {
                grace_until: (!record.kept).then_some(now + GRACE),
                record,
                drained: true,
            }
        });
        Self {
            connections_max,
            own: 0,
            predecessor: 0,
            has_target: false,
            stopping: false,
            resting: false,
            retired: false,
            lock,
            record_left: false,
            callers: BTreeMap::new(),
        }
    }

    /// Whether another process has taken the place of this one.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// Whether the process is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// What the gate does with a client that arrives.
    pub fn state(&self) -> GateState {
        match (&self.lock, self.open()) {
            (None, _) => GateState::Open,
            (Some(_), 0) => GateState::Locked,
            (Some(_), _) => GateState::Draining,
        }
    }

    /// Open connections, those of the process that was taken over among them.
    pub fn open(&self) -> usize {
        self.own + self.predecessor
    }

    /// Those of them that are open in the process that was taken over.
    pub fn open_in_predecessor(&self) -> usize {
        self.predecessor
    }

    /// The most connections that may be open.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// The lock, as it is written down.
    pub fn lock_record(&self) -> Option<&LockRecord> {
        self.lock.as_ref().map(|lock| &lock.record)
    }

    /// Callers that wait for the drain or hold the lock.
    pub fn callers(&self) -> usize {
        let waits = |caller: &&Caller| caller.waits();
        self.callers.values().filter(waits).count()
    }

    /// Whether a client may be accepted now. Whoever acts on it must do so before the next event.
    pub fn may_accept(&self) -> bool {
        self.lock.is_none()
            && self.has_target
            && !self.stopping
            && !self.resting
            && self.open() < self.connections_max
    }

    /// Callers that wait for the drain or hold the lock.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = &mut Caller> {
        self.callers.values_mut().filter(|caller| caller.waits())
    }

    /// How the wait of `caller` ended; `None` while it goes on.
    pub fn outcome(&self, caller: CallerId) -> Option<&Outcome> {
        self.callers.get(&caller)?.outcome.as_ref()
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Uptime> {
        let lock = self.lock.as_ref()?;
        let callers = self.callers.values().filter(|caller| caller.waits());
        let callers = callers.map(Caller::deadline);
        let lock = [lock.record.lease_until, lock.grace_until];
        callers.chain(lock).flatten().min()
    }
}
