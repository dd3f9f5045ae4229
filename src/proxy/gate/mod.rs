//! The gate: may this client pass, is the drain complete, who is told what?
//!
//! A pure state machine. Events and the time go in, [`Notice`]s come out; the only thing it asks of
//! the world is that a [`LockStore`] writes the lock down, because that has to happen before the
//! lock takes effect. What must hold is in `tests.rs`, and tested over random sequences of events.

#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

pub use words::{
    CallerId, GateState, LockRecord, LockRequest, LockStore, Mode, Notice, Opened, Outcome,
};

use crate::service::clock::Uptime;

/// How long a lock that belonged to waiting callers outlives a restart of the proxy, so that these
/// callers can come back; if none does, the lock is taken back.
pub const GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Lock {
    record: LockRecord,
    /// A lock without callers that a restart found: how long its callers may take to come back.
    grace_until: Option<Uptime>,
    drained: bool,
}

#[derive(Clone, Debug)]
struct Caller {
    hold: bool,
    timeout_at: Option<Uptime>,
    force_at: Option<Uptime>,
    outcome: Option<Outcome>,
}

/// The state machine. See the module.
#[derive(Clone, Debug)]
pub struct Gate {
    connections_max: usize,
    open: usize,
    has_target: bool,
    stopping: bool,
    lock: Option<Lock>,
    callers: BTreeMap<CallerId, Caller>,
}

impl Gate {
    /// A gate for at most `connections_max` connections, none of them open, with the lock that the
    /// process before wrote down. Without a target nobody passes.
    pub fn new(connections_max: usize, record: Option<LockRecord>, now: Uptime) -> Self {
        let lock = record.map(|record| Lock {
            grace_until: (!record.kept).then_some(now + GRACE),
            record,
            drained: true,
        });
        Self {
            connections_max,
            open: 0,
            has_target: false,
            stopping: false,
            lock,
            callers: BTreeMap::new(),
        }
    }

    /// What the gate does with a client that arrives.
    pub fn state(&self) -> GateState {
        match (&self.lock, self.open) {
            (None, _) => GateState::Open,
            (Some(_), 0) => GateState::Locked,
            (Some(_), _) => GateState::Draining,
        }
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.open
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
        self.callers
            .values()
            .filter(|caller| caller.outcome.is_none())
            .count()
    }

    /// Whether a client may be accepted now. Whoever acts on it must do so before the next event.
    pub fn may_accept(&self) -> bool {
        self.lock.is_none() && self.has_target && !self.stopping && self.open < self.connections_max
    }

    /// A client was accepted.
    pub fn accepted(&mut self) {
        debug_assert!(
            self.may_accept(),
            "a client was accepted by a gate that is not open"
        );
        self.open += 1;
    }

    /// A connection has ended, on both sides.
    pub fn closed(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        debug_assert!(self.open > 0, "a connection ended that was not counted");
        self.open = self.open.saturating_sub(1);
        self.settle(store)
    }

    /// Whether anybody has said where connections go.
    pub fn set_has_target(&mut self, has_target: bool) {
        self.has_target = has_target;
    }

    /// The process is about to end: nobody passes any more. A lock outlives it, with or without its
    /// callers: they may come back to the next process.
    pub fn stopping(&mut self) {
        self.stopping = true;
    }

    /// Closes the gate for a caller, or lets the caller join those for whom it is closed already.
    ///
    /// # Errors
    ///
    /// When the lock could not be written down; nothing has changed then.
    pub fn lock(
        &mut self,
        caller: CallerId,
        request: LockRequest,
        now: Uptime,
        store: &mut dyn LockStore,
    ) -> io::Result<Vec<Notice>> {
        let lease_until = request.lease.map(|lease| now + lease);
        let kept = request.mode == Mode::AtOnce;
        let record = match self.lock_record() {
            None => LockRecord {
                reason: request.reason,
                since_usec: request.realtime_usec,
                lease_until,
                kept,
            },
            // The longest lease that was asked for counts: nobody's lock ends early.
            Some(old) => LockRecord {
                lease_until: old
                    .lease_until
                    .zip(lease_until)
                    .map(|(old, new)| old.max(new)),
                kept: old.kept || kept,
                ..old.clone()
            },
        };
        if self.lock_record() != Some(&record) {
            store.save(Some(&record))?;
        }
        let mut notices = Vec::new();
        match &mut self.lock {
            None => {
                notices.push(Notice::Locked);
                self.lock = Some(Lock {
                    record,
                    grace_until: None,
                    drained: false,
                });
            }
            Some(lock) => {
                lock.record = record;
                lock.grace_until = None;
            }
        }
        if request.mode != Mode::AtOnce {
            let caller_state = Caller {
                hold: request.mode == Mode::Hold,
                timeout_at: request.timeout.map(|timeout| now + timeout),
                force_at: request.force_after.map(|after| now + after),
                outcome: None,
            };
            self.callers.insert(caller, caller_state);
        }
        notices.extend(self.settle(store));
        Ok(notices)
    }

    /// Opens the gate because somebody asked for it.
    pub fn unlock(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        self.open_gate(Opened::Asked, store)
    }

    /// How the wait of `caller` ended; `None` while it goes on.
    pub fn outcome(&self, caller: CallerId) -> Option<&Outcome> {
        self.callers.get(&caller)?.outcome.as_ref()
    }

    /// The caller has its answer, or has gone. If the lock was its, and nobody else's, the gate
    /// opens.
    pub fn caller_gone(&mut self, caller: CallerId, store: &mut dyn LockStore) -> Vec<Notice> {
        self.callers.remove(&caller);
        self.take_back(store)
    }

    /// Does what is due at this time.
    pub fn tick(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        let Some(lock) = &mut self.lock else {
            return Vec::new();
        };
        if lock.record.lease_until.is_some_and(|until| until <= now) {
            return self.open_gate(Opened::Lease, store);
        }
        if lock.grace_until.is_some_and(|until| until <= now) {
            lock.grace_until = None;
        }
        let mut notices = Vec::new();
        for caller in self
            .callers
            .values_mut()
            .filter(|caller| caller.outcome.is_none())
        {
            if caller.timeout_at.is_some_and(|at| at <= now) {
                caller.outcome = Some(Outcome::TimedOut);
            } else if caller.force_at.is_some_and(|at| at <= now) {
                caller.force_at = None;
                notices.push(Notice::Force);
            }
        }
        notices.extend(self.take_back(store));
        notices
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Uptime> {
        let lock = self.lock.as_ref()?;
        let callers = self
            .callers
            .values()
            .filter(|caller| caller.outcome.is_none());
        callers
            .flat_map(|caller| [caller.timeout_at, caller.force_at])
            .chain([lock.record.lease_until, lock.grace_until])
            .flatten()
            .min()
    }

    /// Gives everybody who waits for the drain an answer, if it is complete. That the lock stays
    /// from now on is written down first.
    fn settle(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        let Some(lock) = &mut self.lock else {
            return Vec::new();
        };
        if self.open > 0 {
            return Vec::new();
        }
        let mut notices = Vec::new();
        if !std::mem::replace(&mut lock.drained, true) {
            notices.push(Notice::Drained);
        }
        let mut waiting: Vec<&mut Caller> = self
            .callers
            .values_mut()
            .filter(|caller| caller.outcome.is_none())
            .collect();
        for caller in &mut waiting {
            // They were about the drain.
            (caller.timeout_at, caller.force_at) = (None, None);
        }
        waiting.retain(|caller| !caller.hold);
        // A process that is about to end could not tell them any more: they hear it from the next.
        if waiting.is_empty() || self.stopping {
            return notices;
        }
        let mut outcome = Outcome::Drained;
        if !lock.record.kept {
            let record = LockRecord {
                kept: true,
                ..lock.record.clone()
            };
            match store.save(Some(&record)) {
                Ok(()) => lock.record = record,
                Err(error) => outcome = Outcome::NotSaved(error.to_string()),
            }
        }
        for caller in waiting {
            caller.outcome = Some(outcome.clone());
        }
        notices.extend(self.take_back(store));
        notices
    }

    /// Opens the gate if the lock belongs to callers, and none of them is left.
    fn take_back(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        match &self.lock {
            Some(lock)
                if !lock.record.kept
                    && lock.grace_until.is_none()
                    && self.callers() == 0
                    && !self.stopping =>
            {
                self.open_gate(Opened::NoCaller, store)
            }
            _ => Vec::new(),
        }
    }

    fn open_gate(&mut self, why: Opened, store: &mut dyn LockStore) -> Vec<Notice> {
        if self.lock.take().is_none() {
            return Vec::new();
        }
        for caller in self.callers.values_mut() {
            // An answer that was not fetched yet must not say that nobody is connected.
            if matches!(caller.outcome, None | Some(Outcome::Drained)) {
                caller.outcome = Some(Outcome::Unlocked(why));
            }
        }
        // Clients wait: the gate opens even if that cannot be written down.
        match store.save(None) {
            Ok(()) => vec![Notice::Opened(why)],
            Err(error) => vec![Notice::Opened(why), Notice::RecordLeft(error.to_string())],
        }
    }
}
