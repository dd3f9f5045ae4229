//! Those for whom there was no room in the lot when they came: parking them later.
//!
//! There is none while others of the same user, in another container perhaps, have too many descriptors on
//! their way ([`super::budget`]).

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::batch::Batch;
use super::lots::{Lots, Occasion};
use super::message::{DESCRIPTORS_MAX, LotEntry};
use super::shared::Parking;

impl Parking {
    /// Whether somebody could not be parked.
    pub fn has_unparked(&self) -> bool {
        self.has_unparked.load(SeqCst)
    }

    /// Parks those who could not be parked; for how many of them there is still no room.
    pub fn park_unparked(&self) -> usize {
        if !self.has_unparked.swap(false, SeqCst) {
            return 0;
        }
        // Nobody parks or releases meanwhile, so that descriptors stay what they are.
        let lots = &self.lots;
        let lots = lots.write().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut left) = (Batch::default(), 0);
        for index in 0..self.table.top() {
            let state = self.slot(index).map(|slot| slot.state());
            let unparked = state.filter(|state| state.phase.is_live() && !state.parked);
            if let Some((now, descriptors)) =
                unparked.and_then(|state| self.now(LotEntry::of_slot(index, state)))
            {
                if batch.descriptors.len() + now.descriptors() > DESCRIPTORS_MAX {
                    left += self.park_batch(&lots, &std::mem::take(&mut batch));
                }
                batch.add(now, descriptors);
            }
        }
        left += self.park_batch(&lots, &batch);
        if left > 0 {
            self.has_unparked.store(true, SeqCst);
        }
        left
    }

    /// Parks them together; how many of them are left.
    fn park_batch(&self, lots: &Lots, batch: &Batch) -> usize {
        match self.send_batch(lots, self.active(), batch, Occasion::Parking) {
            true => 0,
            false => batch.entries.len(),
        }
    }
}
