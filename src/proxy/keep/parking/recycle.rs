//! Recycling: what lives in a lot is parked in the other one, step by step, and the rest is thrown away.
//!
//! From the first step on, new connections are parked in the other lot. Then the old lot's messages are
//! looked at, from the head; what lives of some of them is parked in the other lot with one message; and
//! only then are those thrown away. So at every moment everything is in at least one of the lots, and both
//! together never hold more than one message more than before. It may be interrupted at any point: the
//! next process looks into both lots, the old one first, and continues.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Release;

use super::batch::Batch;
use super::lots::{LotSide, Lots, Occasion, Refusal};
use super::message::LotEntry;
use super::shared::Parking;
use crate::proxy::keep::table::layout::PAIRS;

/// How many are not parked after a lot could not be recycled, before that is tried again.
const REFUSALS: usize = 256;

/// Recycling is not worth the work if what has ended is a smaller part of what lives.
const DEAD_PART: usize = 64;

/// Whether to continue; only tests say no.
pub type Continues<'a> = &'a mut dyn FnMut() -> bool;

impl Parking {
    /// Discards what the kernel holds for connections that have ended. The work is that of parking all
    /// open ones.
    pub fn tidy(&self) {
        let lots = self.lots();
        let (dead, round) = (self.dead(&lots), lots.round);
        drop(lots);
        if dead > 0 {
            self.recycle(round, Refusal::Full);
        }
    }

    /// Descriptors in the lots that are of no use.
    pub(super) fn dead(&self, lots: &Lots) -> usize {
        lots.descriptors().saturating_sub(self.places.useful())
    }

    /// Makes room in the active lot, unless another thread has done so since that round. Returns whether
    /// parking is to be tried again.
    pub(in crate::proxy::keep) fn recycle(&self, round: u64, why: Refusal) -> bool {
        let lots = &self.lots;
        let mut lots = lots.write().unwrap_or_else(PoisonError::into_inner);
        if lots.round != round {
            return true;
        }
        if lots.refusals > 0 {
            lots.refusals -= 1;
            return false;
        }
        let dead = self.dead(&lots);
        if why == Refusal::TooMany && dead <= self.places.useful() / DEAD_PART {
            return false;
        }
        lots.round += 1;
        if !self.move_over(&lots, &mut || true) {
            lots.refusals = REFUSALS;
        }
        true
    }

    /// Recycles, or continues that. Returns whether the old lot is empty. Nothing may be parked meanwhile.
    pub(in crate::proxy::keep) fn move_over(&self, lots: &Lots, continues: Continues<'_>) -> bool {
        let active = self.active();
        if lots.messages(1 - active) == 0 {
            let header = self.table.header();
            header.active.store(1 - active as u32, Release);
        }
        let old = 1 - self.active();
        (0..PAIRS).all(|queue| self.drain(lots, old, queue, continues))
    }

    fn drain(&self, lots: &Lots, old: LotSide, queue: usize, continues: Continues<'_>) -> bool {
        while lots.messages_in(old, queue) > 0 {
            let mut batch = Batch::default();
            // The number of descriptors of each message that is in the batch.
            let mut messages = Vec::new();
            let most = self.budget.message;
            let result = lots.look_ahead(old, queue, |entries| {
                let before = batch.entries.len();
                self.add_living(old, &entries, &mut batch);
                let is_more = batch.descriptors.len() > most && !messages.is_empty();
                if is_more {
                    self.leave_in(old, batch.split_off(before));
                } else {
                    messages.push(entries.iter().map(|entry| entry.descriptors()).sum());
                }
                !is_more
            });
            let may_send = result.is_ok() && continues();
            if !may_send || !self.send_batch(lots, 1 - old, &batch, Occasion::Recycling) {
                self.leave_in(old, batch.entries);
                return false;
            }
            for descriptors in messages {
                if !continues() {
                    return false;
                }
                lots.throw_away(old, queue, descriptors);
            }
        }
        continues()
    }

    /// Adds to the batch what lives of a message and is in no other lot.
    fn add_living(&self, old: LotSide, entries: &[LotEntry], batch: &mut Batch) {
        let places = &self.places;
        for entry in entries {
            if places.side(entry.kind, entry.index) != Some(old) {
                continue;
            }
            if let Some((current, descriptors)) = self.current(*entry) {
                // Before it is there, so that it is not added twice if it was parked twice.
                places.put(current, 1 - old);
                batch.add(current, descriptors);
            }
        }
    }

    /// They are not sent, after all.
    fn leave_in(&self, old: LotSide, entries: Vec<LotEntry>) {
        for entry in entries {
            self.places.put(entry, old);
        }
    }
}
