//! How a drain is completed, and how a lock ends.

use super::caller::Caller;
use super::machine::{Gate, Lock};
use super::words::{LockRecord, LockStore, Notice, OpenReason, Outcome};

impl Gate {
    /// If the drain is complete, ends the wait of every caller that waits for it. That the lock stays
    /// is saved first.
    pub(super) fn complete_drain(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        let (0, Some(lock)) = (self.open_connections(), &mut self.lock) else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        if !std::mem::replace(&mut lock.drained, true) {
            notices.push(Notice::Drained);
        }
        self.callers.values_mut().for_each(Caller::drained);
        let waiting = self.callers.values_mut();
        let mut waiting = waiting
            .filter(|caller| caller.waits() && !caller.hold)
            .peekable();
        // A process that is about to end could not answer any more: the next one does.
        if waiting.peek().is_none() || self.stopping {
            return notices;
        }
        let kept = LockRecord {
            kept: true,
            ..lock.record.clone()
        };
        let saved = match lock.record.kept {
            true => Ok(()),
            false => store.save(Some(&kept)),
        };
        let outcome = match saved {
            Ok(()) => Outcome::Drained,
            Err(error) => Outcome::NotSaved(error.to_string()),
        };
        lock.record.kept |= outcome == Outcome::Drained;
        waiting.for_each(|caller| caller.end_wait(outcome.clone()));
        notices.extend(self.take_back(OpenReason::NoCaller, store));
        notices
    }

    /// Opens the gate if the lock belongs to callers, and none of them is left.
    pub(super) fn take_back(&mut self, why: OpenReason, store: &mut dyn LockStore) -> Vec<Notice> {
        let belongs_to_callers = |lock: &Lock| !lock.record.kept && lock.grace_until.is_none();
        let is_over = self.lock.as_ref().is_some_and(belongs_to_callers);
        match is_over && self.callers() == 0 && !self.stopping {
            true => self.open_gate(why, store),
            false => Vec::new(),
        }
    }

    pub(super) fn open_gate(&mut self, why: OpenReason, store: &mut dyn LockStore) -> Vec<Notice> {
        self.lift(&Outcome::Unlocked(why), Notice::Opened(why), store)
    }

    /// Ends the lock, if there is one.
    pub(super) fn lift(
        &mut self,
        outcome: &Outcome,
        notice: Notice,
        store: &mut dyn LockStore,
    ) -> Vec<Notice> {
        if self.lock.take().is_none() {
            return Vec::new();
        }
        for caller in self.callers.values_mut() {
            // `Drained` is not true any more for a caller that has yet to be answered.
            if matches!(caller.outcome, None | Some(Outcome::Drained)) {
                caller.end_wait(outcome.clone());
            }
        }
        // Clients wait: the gate opens even if that cannot be saved.
        let mut notices = vec![notice];
        notices.extend(self.remove_record(store));
        notices
    }

    /// Removes what is saved of the lock. Returns the notice if that fails.
    pub(super) fn remove_record(&mut self, store: &mut dyn LockStore) -> Option<Notice> {
        let removed = store.save(None);
        self.record_left = removed.is_err();
        let error = removed.err()?;
        Some(Notice::RecordLeft(error.to_string()))
    }
}
