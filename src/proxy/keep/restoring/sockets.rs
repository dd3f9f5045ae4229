//! The sockets of a connection that was found.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Release;

use crate::proxy::keep::parking::Parking;
use crate::proxy::keep::parking::lots::LotSide;
use crate::proxy::keep::parking::message::LotEntry;
use crate::proxy::keep::table::counters;
use crate::proxy::keep::table::layout::State;
use crate::proxy::keep::table::{NONE, Slot, Way};
use crate::service::ending;
use crate::service::kernel::tcp_counters;

pub struct Sockets {
    pub client: OwnedFd,
    pub upstream: Option<OwnedFd>,
    /// The lot that they are in; `None` if only the will has saved them.
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
            let entry = LotEntry::of_slot(slot.index(), state);
            parking.places.put(entry, side);
        }
    }

    /// Whether the client was reset, or has got its end.
    pub(super) fn is_client_over(&self) -> bool {
        tcp_counters(self.client.as_fd()).is_ok_and(|counters| counters::is_over(&counters))
    }

    /// Ends a connection that cannot continue, or whose end has begun.
    pub(super) fn end(&self, parking: &Parking, slot: Slot) {
        slot.set_ending();
        for socket in std::iter::once(&self.client).chain(&self.upstream) {
            ending::end_by_reset(socket);
        }
        parking.free_slot(slot.index());
    }

    /// Does what was written down and perhaps not done: passes on an end that has come.
    pub(super) fn shut_down(&self, slot: Slot) {
        let sinks = [
            (Way::Up, self.upstream.as_ref()),
            (Way::Down, Some(&self.client)),
        ];
        for (way, sink) in sinks {
            if let Some(sink) = sink.filter(|_| slot.flow(way).is_finished()) {
                // It fails only on a connection that is broken, which is found out.
                let _ = ending::end_orderly(sink);
            }
        }
    }
}
