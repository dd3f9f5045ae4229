//! What happens to the gate.

use std::io;

use super::caller::Caller;
use super::machine::{Gate, Lock};
use super::words::{
    CallerId, LockRecord, LockRequest, LockStore, Mode, Notice, OpenReason, Outcome,
};
use crate::interface::LeaseEnd;
use crate::service::clock::Uptime;

impl Gate {
    /// The process has taken over from another one, whose `open` connections count as its own. A lock
    /// whose lease would have ended that process opens instead: a successor was started on purpose.
    /// Fails if that could not be saved. It holds for this process all the same.
    pub fn took_over(&mut self, open: usize, store: &mut dyn LockStore) -> io::Result<()> {
        self.predecessor = open;
        let Some(lock) = &mut self.lock else {
            return Ok(());
        };
        lock.drained = open == 0;
        match std::mem::take(&mut lock.record.at_lease_end) {
            LeaseEnd::Open => Ok(()),
            LeaseEnd::Exit => store.save(Some(&lock.record)),
        }
    }

    /// `open` connections are still open in the predecessor.
    pub fn predecessor_has(
        &mut self,
        open: usize,
        now: Uptime,
        store: &mut dyn LockStore,
    ) -> Vec<Notice> {
        // It accepts none any more.
        if open < self.predecessor {
            self.predecessor = open;
            self.connection_ended(now);
        }
        self.complete_drain(store)
    }

    /// Another process takes over, and the lock is its lock now. No client passes here any more, and
    /// nothing is saved. `passes_on`: the other process takes the detached clients, too.
    pub fn retire(&mut self, passes_on: bool) {
        self.stopping = true;
        self.retired = true;
        self.passes_on = passes_on;
        self.lock = None;
        self.record_left = false;
        self.callers.clear();
    }

    /// The successor takes no more detached clients: they get their upstreams here.
    pub fn stop_passing_on(&mut self) {
        self.passes_on = false;
    }

    /// The predecessor has passed `count` detached clients on, which were open as long as they were there.
    pub fn adopt_passed(
        &mut self,
        count: usize,
        now: Uptime,
        store: &mut dyn LockStore,
    ) -> Vec<Notice> {
        self.detached += count;
        let left = self.predecessor.saturating_sub(count);
        self.predecessor_has(left, now, store)
    }

    pub fn accepted(&mut self) {
        debug_assert!(self.may_accept(), "a client was accepted by a closed gate");
        self.own += 1;
    }

    /// Counts `count` connections that an earlier process left open: it has handed them over, or they
    /// were kept.
    pub fn adopt(&mut self, count: usize) {
        self.own += count;
        if let (Some(lock), 1..) = (&mut self.lock, count) {
            lock.drained = false;
        }
    }

    /// A connection has ended on both sides.
    pub fn closed(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        debug_assert!(self.own > 0, "a connection ended that was not counted");
        self.own = self.own.saturating_sub(1);
        self.connection_ended(now);
        self.complete_drain(store)
    }

    /// A client stays, and its upstream has ended between two requests.
    pub fn detached(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        self.detached += 1;
        self.closed(now, store)
    }

    /// A detached client gets an upstream: allowed only by [`Self::may_attach`].
    pub fn attached(&mut self) {
        debug_assert!(self.may_attach(), "a client was attached by a closed gate");
        debug_assert!(
            self.detached > 0,
            "a client was attached that was not detached"
        );
        self.detached = self.detached.saturating_sub(1);
        self.own += 1;
    }

    /// A detached client has left.
    pub fn detached_gone(&mut self) {
        debug_assert!(self.detached > 0, "a client left that was not detached");
        self.detached = self.detached.saturating_sub(1);
    }

    /// Counts `count` detached clients that an earlier process has kept.
    pub fn adopt_detached(&mut self, count: usize) {
        self.detached += count;
    }

    fn connection_ended(&mut self, now: Uptime) {
        let callers = self.callers.values_mut();
        callers.for_each(|caller| caller.connection_ended(now));
    }

    pub fn set_has_target(&mut self, has_target: bool) {
        self.has_target = has_target;
    }

    /// Closes the gate for clients while it is decided whether the process may exit because it is idle.
    pub fn set_resting(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// The process is about to end: no client passes any more. The lock stays for the next process, and
    /// its callers may come back to that one.
    pub fn stopping(&mut self) {
        self.stopping = true;
    }

    /// Closes the gate for `caller`, or adds the caller to a lock that is in force.
    /// Fails if the lock could not be saved, or the process has retired. Nothing has changed then.
    pub fn lock(
        &mut self,
        caller: CallerId,
        request: LockRequest,
        now: Uptime,
        store: &mut dyn LockStore,
    ) -> io::Result<Vec<Notice>> {
        if self.retired {
            return Err(io::Error::other(
                "another process has taken the place of this one: ask again",
            ));
        }
        let participant = (request.mode != Mode::AtOnce).then(|| Caller::new(&request, now));
        let record = record(request, self.lock_record(), now);
        if self.lock_record() != Some(&record) {
            store.save(Some(&record))?;
            self.record_left = false;
        }
        let drained = self.lock.as_ref().map(|lock| lock.drained);
        self.lock = Some(Lock {
            record,
            grace_until: None,
            drained: drained.unwrap_or(false),
        });
        if let Some(participant) = participant {
            self.callers.insert(caller, participant);
        }
        let mut notices = match drained {
            None => vec![Notice::Locked],
            Some(_) => Vec::new(),
        };
        notices.extend(self.complete_drain(store));
        Ok(notices)
    }

    /// Opens the gate on request. If it is open, removes what is left of an earlier lock.
    pub fn unlock(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        match self.lock.is_none() && self.record_left {
            true => self.remove_record(store).into_iter().collect(),
            false => self.open_gate(OpenReason::Unlock, store),
        }
    }

    /// The caller was answered or has left. If the lock belonged to no other caller, the gate opens.
    pub fn caller_gone(&mut self, caller: CallerId, store: &mut dyn LockStore) -> Vec<Notice> {
        let gone = self.callers.remove(&caller);
        let is_drained = self.lock.as_ref().is_some_and(|lock| lock.drained);
        let why = match gone {
            Some(caller) if caller.hold && caller.waits() && is_drained => OpenReason::Holder,
            _ => OpenReason::NoCaller,
        };
        self.take_back(why, store)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        let open = self.open_connections();
        let Some(lock) = &mut self.lock else {
            return Vec::new();
        };
        if lock.record.lease_until.is_some_and(|until| until <= now) {
            if lock.record.at_lease_end == LeaseEnd::Open {
                return self.open_gate(OpenReason::Lease, store);
            }
            // The next process starts unlocked.
            self.stopping = true;
            return self.lift(&Outcome::Ended, Notice::Ended, store);
        }
        lock.grace_until = lock.grace_until.filter(|until| *until > now);
        let callers = self.callers.values_mut();
        let mut notices: Vec<_> = callers
            .filter_map(|caller| caller.tick(open, now))
            .collect();
        notices.extend(self.take_back(OpenReason::NoCaller, store));
        notices
    }
}

/// What is saved of a lock after `request`; `old` is the lock that is in force.
fn record(request: LockRequest, old: Option<&LockRecord>, now: Uptime) -> LockRecord {
    let lease_until = request.lease.map(|lease| now + lease);
    let kept = request.mode == Mode::AtOnce;
    match old {
        None => LockRecord {
            reason: request.reason,
            since_usec: request.realtime_usec,
            lease_until,
            at_lease_end: request.at_lease_end.unwrap_or_default(),
            kept,
        },
        // The longest lease counts, so that no caller's lock ends early; of what happens at its end, the
        // latest request.
        Some(old) => LockRecord {
            at_lease_end: request.at_lease_end.unwrap_or(old.at_lease_end),
            lease_until: old
                .lease_until
                .zip(lease_until)
                .map(|(old, new)| old.max(new)),
            kept: old.kept || kept,
            ..old.clone()
        },
    }
}
