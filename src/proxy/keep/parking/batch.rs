//! What is parked with one message.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::{Relaxed, Release};

use rustix::io::Errno;

use super::lots::{LotSide, Lots, Occasion, Refusal};
use super::message::{Kind, LotEntry};
use super::shared::Parking;
use crate::proxy::keep::table::NONE;
use crate::proxy::keep::table::layout::{PARKED, State};

/// What is sent together.
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

    /// Takes out what was added from there on.
    pub(super) fn split_off(&mut self, first: usize) -> Vec<LotEntry> {
        let entries = self.entries.split_off(first);
        let descriptors: usize = entries.iter().map(|entry| entry.descriptors()).sum();
        let left = self.descriptors.len() - descriptors;
        self.descriptors.truncate(left);
        entries
    }
}

impl Parking {
    /// What is to be said now of something that was parked, and its descriptors; `None` if it does not
    /// live any more.
    pub(super) fn now(&self, said: LotEntry) -> Option<(LotEntry, [RawFd; 2])> {
        let table = &self.table;
        let (state, now, ends) = match said.kind {
            Kind::Stray => return None,
            Kind::Pipe => {
                let pipe = table.pipe(said.index)?;
                let state = State::of(pipe.state.load(Relaxed));
                (state, said, [&pipe.read, &pipe.write])
            }
            Kind::Client | Kind::Pair => {
                let slot = table.slot(said.index)?;
                let state = State::of(slot.state.load(Relaxed));
                let now = LotEntry::of_slot(said.index, state);
                (state, now, [&slot.client, &slot.upstream])
            }
        };
        let ends = ends.map(|end| end.load(Relaxed));
        let lives = state.phase.is_live() && state.generation == said.generation;
        (lives && ends[0] != NONE).then_some((now, ends.map(|end| end as RawFd)))
    }

    /// Parks them, and if one of the descriptors spoils it, each by itself.
    pub(super) fn send_batch(
        &self,
        lots: &Lots,
        side: LotSide,
        batch: &Batch,
        purpose: Occasion,
    ) -> bool {
        let send = |entries: &[LotEntry], descriptors: &[RawFd]| {
            let sent = lots.send(side, entries, descriptors, purpose);
            if sent.is_ok() {
                for entry in entries {
                    self.places.put(*entry, side);
                    self.is_parked(*entry);
                }
            }
            sent
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
                    // One that is not open is nobody's loss.
                    let sent = send(&[*entry], own);
                    matches!(sent, Ok(()) | Err(Refusal::Because(Errno::BADF)))
                })
            }
            Err(_) => false,
        }
    }

    /// It is parked as it is now. (Whoever has the slot may change its phase at the same time, and then
    /// the mark is lost, which costs the will a message.)
    fn is_parked(&self, entry: LotEntry) {
        if entry.kind != Kind::Pipe
            && let Some(slot) = self.table.slot(entry.index)
        {
            slot.state.fetch_or(PARKED, Release);
        }
    }
}
