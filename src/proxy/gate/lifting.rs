//! How a drain is completed, and how a lock ends.

use super::caller::Caller;
use super::machine::Gate;
use super::words::{LockRecord, LockStore, Notice, Opened, Outcome};

impl Gate {
    /// Gives everybody who waits for the drain an answer, if it is complete. That the lock stays
    /// from now on is written down first.
    pub(super) fn settle(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        if self.open() > 0 {
            return Vec::new();
        }
        let Some(lock) = &mut self.lock else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        if !std::mem::replace(&mut lock.drained, true) {
            notices.push(Notice::Drained);
        }
        let callers = self.callers.values_mut();
        let mut waiting: Vec<&mut Caller> = callers.filter(|caller| caller.waits()).collect();
        for caller in &mut waiting {
            caller.drained();
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
        notices.extend(self.take_back(Opened::NoCaller, store));
        notices
    }

    /// Opens the gate if the lock belongs to callers, and none of them is left.
    pub(super) fn take_back(&mut self, why: Opened, store: &mut dyn LockStore) -> Vec<Notice> {
        match &self.lock {
            Some(lock)
                if !lock.record.kept
                    && lock.grace_until.is_none()
                    && self.callers() == 0
                    && !self.stopping =>
            {
                self.open_gate(why, store)
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn open_gate(&mut self, why: Opened, store: &mut dyn LockStore) -> Vec<Notice> {
        self.lift(&Outcome::Unlocked(why), Notice::Opened(why), store)
    }

    /// The lease is over, and nobody is to pass: the process ends. The next one starts unlocked.
    pub(super) fn end(&mut self, store: &mut dyn LockStore) -> Vec<Notice> {
        self.stopping = true;
        self.lift(&Outcome::Ended, Notice::Ended, store)
    }

    fn lift(
        &mut self,
        outcome: &Outcome,
        notice: Notice,
        store: &mut dyn LockStore,
    ) -> Vec<Notice> {
        if self.lock.take().is_none() {
            return Vec::new();
        }
        for caller in self.callers.values_mut() {
            // An answer that was not fetched yet must not say that nobody is connected.
            if matches!(caller.outcome, None | Some(Outcome::Drained)) {
                caller.outcome = Some(outcome.clone());
            }
        }
        // Clients wait: the gate opens even if that cannot be written down.
        let mut notices = vec![notice];
        notices.extend(self.remove_record(store));
        notices
    }

    /// What is to be told, if that fails.
    pub(super) fn remove_record(&mut self, store: &mut dyn LockStore) -> Option<Notice> {
        let removed = store.save(None);
        self.record_left = removed.is_err();
        let error = removed.err()?;
        Some(Notice::RecordLeft(error.to_string()))
    }
}
