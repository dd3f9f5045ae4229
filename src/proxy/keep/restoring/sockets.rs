//! The sockets of a connection that was found.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Release;

use crate::proxy::keep::parking::Parking;
use crate::proxy::keep::parking::lots::LotSide;
use crate::proxy::keep::parking::message::LotEntry;
use crate::proxy::keep::table::layout::State;
use crate::proxy::keep::table::{NONE, Slot, Way};
use crate::service::ending;

/// Client and upstream.
pub struct Sockets {
    pub client: OwnedFd,
    pub upstream: Option<OwnedFd>,
    /// Which lot they are in; `None` if only the will has saved them.
    pub lot: Option<LotSide>,
}

impl Sockets {
    /// Writes down the numbers that the descriptors have now, and whether they are parked.
    pub(super) fn settle_in(&self, parking: &Parking, slot: Slot) {
        let upstream = self.upstream.as_ref();
        let upstream = upstream.map_or(NONE, |socket| socket.as_raw_fd() as u32);
        let client = self.client.as_raw_fd() as u32;
        slot.raw().client.store(client, Release);
        slot.raw().upstream.store(upstream, Release);
        let state = State {
            parked: self.lot.is_some(),
            ..slot.state()
        };
        slot.set_state(state);
        if let Some(side) = self.lot {
            parking
                .places
                .put(LotEntry::of_slot(slot.index(), state), side);
        }
    }

    /// Ends a connection that cannot go on, or whose end has begun.
    pub(super) fn end(&self, parking: &Parking, slot: Slot) {
        slot.ending();
        ending::end_by_reset(&self.client);
        if let Some(upstream) = &self.upstream {
            ending::end_by_reset(upstream);
        }
        parking.free_slot(slot.index());
    }

    /// Does what was written down and perhaps not done: an end that has come is passed on.
    pub(super) fn shut_down(&self, slot: Slot) {
        if let (Some(upstream), true) = (&self.upstream, slot.flow(Way::Up).is_finished()) {
            // It fails only on a connection that is broken, which is found out.
            let _ = ending::end_orderly(upstream);
        }
        if slot.flow(Way::Down).is_finished() {
            let _ = ending::end_orderly(&self.client);
        }
    }
}
