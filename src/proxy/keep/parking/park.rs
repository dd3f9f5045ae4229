//! Parking.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::lots::{Lots, Occasion, Refusal};
use super::message::LotEntry;
use super::shared::Parking;
use crate::proxy::keep::table::Slot;
use crate::proxy::keep::table::layout::{Phase, State};
use crate::service::rights::DESCRIPTORS_MAX;

/// How often parking is tried, with recycling in between.
const TRIES: usize = 3;

/// A slot with its client's and its upstream's socket.
pub type SlotSockets<'a> = (Slot, BorrowedFd<'a>, BorrowedFd<'a>);

impl Parking {
    /// Parks a client that was accepted. Returns whether it outlives the whole process group now; if
    /// not (the kernel or the lot has no room) it still outlives the process.
    ///
    /// The descriptor has to stay open until the slot is released.
    pub fn park_client(&self, slot: Slot, client: BorrowedFd<'_>) -> bool {
        self.enter(slot, Phase::Accepted, client.as_raw_fd(), None)
    }

    /// Parks a client with its upstream, as [`Self::park_client`], which need not be called before.
    pub fn park(&self, slot: Slot, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>) -> bool {
        let upstream = Some(upstream.as_raw_fd());
        self.enter(slot, Phase::Connected, client.as_raw_fd(), upstream)
    }

    /// Parks a client that had found no room, in any phase, with its upstream if it has one.
    pub fn park_again(&self, slot: Slot, client: BorrowedFd<'_>) -> bool {
        let phase = slot.phase();
        let upstream = slot.raw().upstream.load(Relaxed) as RawFd;
        let upstream = (phase == Phase::Connected).then_some(upstream);
        self.enter(slot, phase, client.as_raw_fd(), upstream)
    }

    /// Parks several clients with their upstreams, none of which was parked yet, with few calls. To be
    /// called before anything is received from them.
    pub fn park_together(&self, connections: &[SlotSockets<'_>]) {
        for some in connections.chunks(DESCRIPTORS_MAX / 2) {
            let (_lots, parked) = self.send_together(some);
            self.note_unparked(parked);
            write_down(some, parked);
        }
    }

    /// Parks several clients that were just accepted with the sockets that are about to be connected for
    /// them: from now on they outlive the whole process group. Without room they are as they were, and
    /// have to be parked when they are connected.
    ///
    /// A socket that could not be connected has to stay open until the client is parked without it.
    pub fn park_ahead(&self, connections: &[SlotSockets<'_>]) {
        for some in connections.chunks(DESCRIPTORS_MAX / 2) {
            let (_lots, parked) = self.send_together(some);
            if parked {
                write_down(some, parked);
            }
        }
    }

    fn send_together(&self, connections: &[SlotSockets<'_>]) -> (RwLockReadGuard<'_, Lots>, bool) {
        let entries: Vec<LotEntry> = connections
            .iter()
            .map(|(slot, ..)| LotEntry::of_slot(slot.index(), connected(*slot, false)))
            .collect();
        let descriptors: Vec<RawFd> = connections
            .iter()
            .flat_map(|(_, client, upstream)| [client.as_raw_fd(), upstream.as_raw_fd()])
            .collect();
        self.send(&entries, &descriptors)
    }

    fn enter(&self, slot: Slot, phase: Phase, client: RawFd, upstream: Option<RawFd>) -> bool {
        let state = State {
            phase,
            ..slot.state()
        };
        let entry = LotEntry::of_slot(slot.index(), state);
        let descriptors = [client, upstream.unwrap_or(-1)];
        let (_lots, parked) = self.send(&[entry], &descriptors[..entry.descriptors()]);
        self.note_unparked(parked);
        slot.raw().client.store(client as u32, Release);
        if let Some(upstream) = upstream {
            slot.raw().upstream.store(upstream as u32, Release);
        }
        slot.set_state(State { parked, ..state });
        parked
    }

    /// Remembers that something is to be parked later.
    fn note_unparked(&self, parked: bool) {
        if !parked {
            self.has_unparked.store(true, SeqCst);
        }
    }

    /// Sends one message to the active lot, after making room if it is full. Returns whether it is in there,
    /// and the lots, which stay as they are until that is dropped.
    pub(super) fn send(
        &self,
        entries: &[LotEntry],
        descriptors: &[RawFd],
    ) -> (RwLockReadGuard<'_, Lots>, bool) {
        let mut lots = self.lots();
        for left in (0..TRIES).rev() {
            let side = self.active();
            let why = match lots.send(side, entries, descriptors, Occasion::Parking) {
                Ok(()) => {
                    let places = &self.places;
                    entries.iter().for_each(|entry| places.put(*entry, side));
                    return (lots, true);
                }
                Err(Refusal::Because(_)) => break,
                Err(why) => why,
            };
            if left == 0 {
                break;
            }
            let round = lots.round;
            drop(lots);
            let has_room = self.recycle(round, why);
            lots = self.lots();
            if !has_room {
                break;
            }
        }
        (lots, false)
    }
}

fn write_down(connections: &[SlotSockets<'_>], parked: bool) {
    for (slot, client, upstream) in connections {
        let raw = slot.raw();
        raw.client.store(client.as_raw_fd() as u32, Release);
        raw.upstream.store(upstream.as_raw_fd() as u32, Release);
        slot.set_state(connected(*slot, parked));
    }
}

/// The state of a slot whose upstream is connected.
fn connected(slot: Slot, parked: bool) -> State {
    State {
        phase: Phase::Connected,
        parked,
        ..slot.state()
    }
}
