//! The table and the lots, as all threads share them.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, Release},
};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::budget::Budget;
use super::lots::{LotSide, Lots};
use super::message::{Kind, LotEntry};
use super::places::LotPlaces;
use super::queue::SocketPair;
use crate::proxy::keep::table::layout::PAIRS;
use crate::proxy::keep::table::{Slot, Table};

/// Descriptors of upstreams that clients have left and that the lots have in any case, before they are recycled.
const DEAD_MAX: usize = 128;

/// The table, and the lots for its connections.
#[derive(Debug)]
pub struct Parking {
    pub(in crate::proxy::keep) table: Table,
    pub(in crate::proxy::keep) lots: RwLock<Lots>,
    pub(in crate::proxy::keep) places: LotPlaces,
    pub(in crate::proxy::keep) budget: Budget,
    /// Something could not be parked.
    pub(super) has_unparked: AtomicBool,
}

impl Parking {
    /// For `connections` connections, as far as this process is allowed. Nothing counts as parked yet.
    pub(in crate::proxy::keep) fn new(
        table: Table,
        pairs: [SocketPair; PAIRS],
        connections: u32,
    ) -> Self {
        let budget = Budget::of_process(connections);
        table.allow(budget.connections, budget.pipes);
        Self {
            places: LotPlaces::new(table.slots()),
            table,
            lots: RwLock::new(Lots::new(pairs, budget)),
            budget,
            has_unparked: AtomicBool::new(false),
        }
    }

    /// A slot for a client; `None` if none is free, and then the client is not kept.
    pub fn claim(&self) -> Option<Slot> {
        let Some(index) = self.table.claim() else {
            self.table.header().crowded.store(1, Release);
            return None;
        };
        let slot = self.slot(index)?;
        slot.clear();
        Some(slot)
    }

    pub(in crate::proxy::keep) fn slot(&self, index: u32) -> Option<Slot> {
        Some(Slot::new(self.table.slot(index)?, index))
    }

    /// The connection has ended: what is in the lots of it does not count any more. Its sockets are to be
    /// closed afterwards.
    pub fn release(&self, slot: Slot) {
        let _lots = self.lots();
        self.free_slot(slot.index());
    }

    /// The client has no upstream from now on, and stays: a process that finds it has it without one. The upstream is to
    /// be shut down afterwards ([`crate::service::ending::end_both_ways`]), and only then closed. (The other way round,
    /// its end would be taken for one that was passed on from the client.)
    ///
    /// No call is made: the lot keeps the upstream until it is recycled, which happens here if most of what is in there
    /// is of no use.
    pub fn detach(&self, slot: Slot) {
        let lots = self.lots();
        slot.leave_upstream();
        let entry = LotEntry::of_slot(slot.index(), slot.state());
        if let Some(side) = self.places.side(entry.kind, entry.index) {
            self.places.put(entry, side);
        }
        let is_mostly_dead = self.dead(&lots) > DEAD_MAX.max(2 * self.places.useful());
        drop(lots);
        if is_mostly_dead {
            self.tidy();
        }
    }

    pub(in crate::proxy::keep) fn free_slot(&self, index: u32) {
        self.places.remove(Kind::Client, index);
        self.table.free(index);
    }

    pub(in crate::proxy::keep) fn free_pipe(&self, index: u32) {
        self.places.remove(Kind::Pipe, index);
        self.table.free_pipe(index);
    }

    pub(in crate::proxy::keep) fn lots(&self) -> RwLockReadGuard<'_, Lots> {
        let lots = &self.lots;
        lots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lot that is parked in.
    pub(in crate::proxy::keep) fn active(&self) -> LotSide {
        self.table.header().active.load(Relaxed) as LotSide
    }
}
