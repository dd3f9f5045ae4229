//! The state of the gate.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::Caller;
use super::words::{Attaching, CallerId, LockRecord, Outcome};
use crate::interface::{GateState, LeaseEnd};
use crate::service::clock::Uptime;

/// How long the callers of a lock have to come back after a restart before the gate opens.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A closed gate.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub record: LockRecord,
    /// Until when the callers of a lock that this process found may come back.
    pub grace_until: Option<Uptime>,
    pub drained: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Gate {
    pub(super) connections_max: usize,
    pub(super) own: usize,
    /// Connected clients whose upstream was ended between two requests. They are not open.
    pub(super) detached: usize,
    /// Open connections of the predecessor.
    pub(super) predecessor: usize,
    pub(super) has_target: bool,
    pub(super) stopping: bool,
    pub(super) resting: bool,
    pub(super) retired: bool,
    /// Whether the successor takes the detached clients of this process, which has retired.
    pub(super) passes_on: bool,
    pub(super) lock: Option<Lock>,
    /// Whether the record of an earlier lock could not be removed.
    pub(super) record_left: bool,
    pub(super) callers: BTreeMap<CallerId, Caller>,
}

impl Gate {
    /// A gate without connections and without a target, with the lock of the process before.
    pub fn new(connections_max: usize, record: Option<LockRecord>, now: Uptime) -> Self {
        let lock = record.map(|mut record| {
            // That process has ended otherwise, and this one was started since.
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
            lock,
            ..Self::default()
        }
    }

    /// Whether another process has taken over.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// Whether the process is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub fn state(&self) -> GateState {
        match (&self.lock, self.open_connections()) {
            (None, _) => GateState::Open,
            (Some(_), 0) => GateState::Locked,
            (Some(_), _) => GateState::Draining,
        }
    }

    /// Open connections, including those of the predecessor.
    pub fn open_connections(&self) -> usize {
        self.own + self.predecessor
    }

    /// Clients that stay connected, and get an upstream when they speak and [`Self::may_attach`] says so.
    pub fn detached_connections(&self) -> usize {
        self.detached
    }

    /// Connected clients, whether they have an upstream or not, including those of the predecessor.
    pub fn connected(&self) -> usize {
        self.open_connections() + self.detached
    }

    pub fn open_in_predecessor(&self) -> usize {
        self.predecessor
    }

    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// How many clients of the predecessor there is room for: they have places already, but it may have more of them.
    pub fn room_for_passed(&self) -> usize {
        self.connections_max
            .saturating_sub(self.own + self.detached)
    }

    pub fn lock_record(&self) -> Option<&LockRecord> {
        self.lock.as_ref().map(|lock| &lock.record)
    }

    /// The number of callers that wait for the drain or hold the lock.
    pub fn callers(&self) -> usize {
        self.callers
            .values()
            .filter(|caller| caller.waits())
            .count()
    }

    /// Whether a client may be accepted. Valid until the next event.
    pub fn may_accept(&self) -> bool {
        self.lock.is_none()
            && self.has_target
            && !self.stopping
            && !self.resting
            && self.connected() < self.connections_max
    }

    /// Whether a detached client that speaks gets an upstream. Valid until the next event.
    ///
    /// It is one also while the process looks for the last time whether it is idle: it counts as connected all the
    /// time, so that look finds it. The clients of a process that has retired are open for its successor, whose drain
    /// waits for them. If the successor takes them, they get their upstreams there.
    pub fn attaching(&self) -> Attaching {
        let may_be_open = self.lock.is_none() && self.has_target && !self.passes_on;
        match self.stopping && !self.retired {
            true => Attaching::Never,
            false if may_be_open => Attaching::Now,
            false => Attaching::Later,
        }
    }

    pub fn may_attach(&self) -> bool {
        self.attaching() == Attaching::Now
    }

    /// How the wait of `caller` ended; `None` while it waits.
    pub fn outcome(&self, caller: CallerId) -> Option<&Outcome> {
        self.callers.get(&caller)?.outcome.as_ref()
    }

    /// After which idle time connections are ended in this drain: the shortest time of all callers.
    pub fn close_idle(&self) -> Option<Duration> {
        let callers = self.callers.values();
        callers.filter_map(|caller| caller.close_idle).min()
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Uptime> {
        let lock = self.lock.as_ref()?;
        let callers = self.callers.values().filter_map(Caller::deadline);
        let lock = lock.record.lease_until.into_iter().chain(lock.grace_until);
        callers.chain(lock).min()
    }
}
