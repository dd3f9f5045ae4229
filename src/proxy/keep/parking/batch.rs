//! What is parked with one message, also later, when the lot had no room.
//!
//! There is none while other processes of the same user, in another container perhaps, have too many
//! descriptors in flight ([`super::budget`]).

use std::os::fd::RawFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use rustix::io::Errno;

use super::lots::{LotSide, Lots, Occasion, Refusal};
use super::message::{Kind, LotEntry};
use super::shared::Parking;
use crate::proxy::keep::table::NONE;
use crate::service::rights::DESCRIPTORS_MAX;

#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<LotEntry>,
    pub(super) descriptors: Vec<RawFd>,
}

impl Batch {
    pub(super) fn add(&mut self, entry: LotEntry, descriptors: [RawFd; 2]) {
        self.entries.push(entry);
        self.descriptors
            .extend_from_slice(&descriptors[..entry.descriptors()]);
    }

    /// Takes out the entries from `first` on.
    pub(super) fn split_off(&mut self, first: usize) -> Vec<LotEntry> {
        let entries = self.entries.split_off(first);
        let descriptors: usize = entries.iter().map(|entry| entry.descriptors()).sum();
        let left = self.descriptors.len() - descriptors;
        self.descriptors.truncate(left);
        entries
    }
}

impl Parking {
    /// The present form of an earlier entry, and its descriptors; `None` if that use of its slot or pipe has ended.
    pub(super) fn current(&self, before: LotEntry) -> Option<(LotEntry, [RawFd; 2])> {
        let table = &self.table;
        let (state, entry, ends) = match before.kind {
            Kind::Stray => return None,
            Kind::Pipe => {
                let pipe = table.pipe(before.index)?;
                (pipe.state.load(), before, [&pipe.read, &pipe.write])
            }
            Kind::Client | Kind::Pair => {
                let slot = table.slot(before.index)?;
                let state = slot.state.load();
                let entry = LotEntry::of_slot(before.index, state);
                (state, entry, [&slot.client, &slot.upstream])
            }
        };
        let ends = ends.map(|end| end.load(Relaxed));
        let lives = state.phase.is_live() && state.generation == before.generation;
        (lives && ends[0] != NONE).then_some((entry, ends.map(|end| end as RawFd)))
    }

    /// Parks a batch; if one of its descriptors is not open, each entry by itself.
    pub(super) fn send_batch(
        &self,
        lots: &Lots,
        side: LotSide,
        batch: &Batch,
        occasion: Occasion,
    ) -> bool {
        let send = |entries: &[LotEntry], descriptors: &[RawFd]| {
            let result = lots.send(side, entries, descriptors, occasion);
            if result.is_ok() {
                for entry in entries {
                    self.places.put(*entry, side);
                    self.set_parked(*entry);
                }
            }
            result
        };
        if batch.entries.is_empty() {
            return true;
        }
        match send(&batch.entries, &batch.descriptors) {
            Ok(()) => true,
            Err(Refusal::Because(Errno::BADF)) => {
                let mut rest = batch.descriptors.as_slice();
                batch.entries.iter().all(|entry| {
                    let (own, others) = rest.split_at(entry.descriptors());
                    rest = others;
                    // One that is not open is no loss.
                    let result = send(&[*entry], own);
                    matches!(result, Ok(()) | Err(Refusal::Because(Errno::BADF)))
                })
            }
            Err(_) => false,
        }
    }

    /// Marks a slot as parked. (Its owner may change the phase at the same time, and then the mark is lost,
    /// which costs the will a message.)
    fn set_parked(&self, entry: LotEntry) {
        if entry.kind == Kind::Pipe {
            return;
        }
        if let Some(slot) = self.table.slot(entry.index) {
            slot.state.set_parked();
        }
    }

    /// Whether something could not be parked.
    pub fn has_unparked(&self) -> bool {
        self.has_unparked.load(SeqCst)
    }

    /// Parks what could not be parked before. Returns the number of connections for which there is still no
    /// room.
    pub fn park_unparked(&self) -> usize {
        if !self.has_unparked.swap(false, SeqCst) {
            return 0;
        }
        // Nothing is parked or released meanwhile, so that descriptors stay what they are.
        let lots = &self.lots;
        let lots = lots.write().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut left) = (Batch::default(), 0);
        for index in 0..self.table.top() {
            let state = self.slot(index).map(|slot| slot.state());
            let unparked = state.filter(|state| state.phase.is_live() && !state.parked);
            if let Some((entry, descriptors)) =
                unparked.and_then(|state| self.current(LotEntry::of_slot(index, state)))
            {
                if batch.descriptors.len() + entry.descriptors() > DESCRIPTORS_MAX {
                    left += self.park_batch(&lots, &std::mem::take(&mut batch));
                }
                batch.add(entry, descriptors);
            }
        }
        left += self.park_batch(&lots, &batch);
        if left > 0 {
            self.has_unparked.store(true, SeqCst);
        }
        left
    }

    /// Parks a batch. Returns the number of entries that are left.
    fn park_batch(&self, lots: &Lots, batch: &Batch) -> usize {
        match self.send_batch(lots, self.active(), batch, Occasion::Parking) {
            true => 0,
            false => batch.entries.len(),
        }
    }
}
