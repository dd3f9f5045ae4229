//! Parking later what found no room in the lot.
//!
//! There is none while other processes of the same user, in another container perhaps, have too many
//! descriptors in flight ([`super::budget`]).

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::batch::Batch;
use super::lots::{Lots, Occasion};
use super::message::LotEntry;
use super::shared::Parking;
use crate::service::rights::DESCRIPTORS_MAX;

impl Parking {
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

    /// Parks a batch. Returns the number of entries that are left.
    fn park_batch(&self, lots: &Lots, batch: &Batch) -> usize {
        match self.send_batch(lots, self.active(), batch, Occasion::Parking) {
            true => 0,
            false => batch.entries.len(),
        }
    }
}
