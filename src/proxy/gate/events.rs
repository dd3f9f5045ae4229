//! What happens to the gate.

use std::io;

use super::caller::Caller;
use super::machine::{Gate, Lock};
use super::words::{CallerId, LockRecord, LockRequest, LockStore, Mode, Notice, Opened};
use crate::interface::LeaseEnd;
use crate::service::clock::Uptime;

impl Gate {
    /// The process took over from another in which so many connections are open: they count as if
    /// they were our own. A lock that would have ended that process opens at the end of its lease:
    /// a successor is here because somebody wants it.
    ///
    /// # Errors
    ///
    /// When that could not be written down. It holds for this process all the same.
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

    /// So many connections are still open in the process that was taken over.
    pub fn predecessor_has(
        &mut self,
        open: usize,
        now: Uptime,
        store: &mut dyn LockStore,
    ) -> Vec<Notice> {
        // None is accepted there any more.
        if open < self.predecessor {
            self.predecessor = open;
            self.waiting().for_each(|caller| caller.somebody_left(now));
        }
        self.settle(store)
    }

    /// Another process takes the place of this one: the lock is that one's now, and nobody passes
    /// here any more. From now on nothing is written down.
    pub fn retire(&mut self) {
        self.stopping = true;
        self.retired = true;
        self.lock = None;
        self.record_left = false;
        self.callers.clear();
    }

    /// A client was accepted.
    pub fn accepted(&mut self) {
        debug_assert!(
            self.may_accept(),
            "a client was accepted by a gate that is not open"
        );
        self.own += 1;
    }

    /// So many connections were found that are open although no process has them: one before this
    /// one has handed them over. They count as ours.
    pub fn adopt(&mut self, count: usize) {
        self.own += count;
        if let (Some(lock), 1..) = (&mut self.lock, count) {
            lock.drained = false;
        }
    }

    /// A connection has ended, on both sides.
    pub fn closed(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        debug_assert!(self.own > 0, "a connection ended that was not counted");
        self.own = self.own.saturating_sub(1);
        self.waiting().for_each(|caller| caller.somebody_left(now));
        self.settle(store)
    }

    /// Whether anybody has said where connections go.
    pub fn set_has_target(&mut self, has_target: bool) {
        self.has_target = has_target;
    }

    /// Nobody passes while somebody looks whether the process may end for lack of use.
    pub fn set_resting(&mut self, resting: bool) {
        self.resting = resting;
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
    /// When the lock could not be written down, or the process has retired; nothing has changed then.
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
        let waiting = Caller::new(&request, now);
        let lease_until = request.lease.map(|lease| now + lease);
        let kept = request.mode == Mode::AtOnce;
        let record = match self.lock_record() {
            None => LockRecord {
                reason: request.reason,
                since_usec: request.realtime_usec,
                lease_until,
                at_lease_end: request.at_lease_end.unwrap_or_default(),
                kept,
            },
            // The longest lease that was asked for counts: nobody's lock ends early. Of what happens
            // at its end, what was said last counts.
            Some(old) => LockRecord {
                at_lease_end: request.at_lease_end.unwrap_or(old.at_lease_end),
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
            self.record_left = false;
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
            self.callers.insert(caller, waiting);
        }
        notices.extend(self.settle(store));
        Ok(notices)
    }

    /// Opens the gate because somebody asked for it. If it is open, what is left of a lock is removed.
    pub fn unlock(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        match self.lock.is_none() && self.record_left {
            true => self.remove_record(store).into_iter().collect(),
            false => self.open_gate(Opened::Asked, store),
        }
    }

    /// The caller has its answer, or has gone. If the lock was its, and nobody else's, the gate
    /// opens.
    pub fn caller_gone(&mut self, caller: CallerId, store: &mut dyn LockStore) -> Vec<Notice> {
        let gone = self.callers.remove(&caller);
        let is_drained = self.lock.as_ref().is_some_and(|lock| lock.drained);
        let why = match gone {
            Some(caller) if caller.hold && caller.outcome.is_none() && is_drained => Opened::Holder,
            _ => Opened::NoCaller,
        };
        self.take_back(why, store)
    }

    /// Does what is due at this time.
    pub fn tick(&mut self, now: Uptime, store: &mut dyn LockStore) -> Vec<Notice> {
        let Some(lock) = &mut self.lock else {
            return Vec::new();
        };
        if lock.record.lease_until.is_some_and(|until| until <= now) {
            return match lock.record.at_lease_end {
                LeaseEnd::Open => self.open_gate(Opened::Lease, store),
                LeaseEnd::Exit => self.end(store),
            };
        }
        if lock.grace_until.is_some_and(|until| until <= now) {
            lock.grace_until = None;
        }
        let mut notices = Vec::new();
        let open = self.open();
        for caller in self.waiting() {
            notices.extend(caller.tick(open, now));
        }
        notices.extend(self.take_back(Opened::NoCaller, store));
        notices
    }
}
