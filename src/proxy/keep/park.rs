//! Parking and releasing.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::PoisonError;
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::Keep;
use super::layout::{Phase, State};
use super::lots::{Lots, Purpose, Refused, Side};
use super::message::{DESCRIPTORS_MAX, Entry, Kind};
use super::slot::Slot;

/// So often something is tried to be parked.
const TRIES: usize = 3;

/// A client and its upstream.
pub type Pair<'a> = (Slot, BorrowedFd<'a>, BorrowedFd<'a>);

impl Keep {
    /// Parks a client that was accepted. Returns whether it outlives the whole process group now; if
    /// not (the kernel or the lot has no room) it still outlives the process.
    ///
    /// The descriptor has to stay open until the slot is released.
    pub fn park_client(self, slot: Slot, client: BorrowedFd<'_>) -> bool {
        self.enter(slot, Phase::Accepted, client.as_raw_fd(), None)
    }

    /// Parks a client with its upstream; as [`Self::park_client`], which may be left out.
    pub fn park(self, slot: Slot, client: BorrowedFd<'_>, upstream: BorrowedFd<'_>) -> bool {
        let upstream = Some(upstream.as_raw_fd());
        self.enter(slot, Phase::Connected, client.as_raw_fd(), upstream)
    }

    /// Parks a client that was not parked when that was tried, whatever its phase, with its upstream if
    /// it has one.
    pub fn park_again(self, slot: Slot, client: BorrowedFd<'_>) -> bool {
        let phase = slot.phase();
        let upstream = slot.raw().upstream.load(Relaxed) as RawFd;
        let upstream = (phase == Phase::Connected).then_some(upstream);
        self.enter(slot, phase, client.as_raw_fd(), upstream)
    }

    /// Parks several clients with their upstreams: those of which none was parked yet, with few calls.
    /// To be called before anything is received from them.
    pub fn park_together(self, pairs: &[Pair<'_>]) {
        for some in pairs.chunks(DESCRIPTORS_MAX / 2) {
            let (_lots, parked) = self.send_pairs(some);
            self.note(parked);
            enter_pairs(some, parked);
        }
    }

    /// Parks several clients that were just accepted with the sockets that are about to be connected for
    /// them: from now on they outlive the whole process group. Where there is no room they are as they
    /// were, and have to be parked when they are connected.
    ///
    /// A socket that could not be connected has to stay open until the client is parked without it.
    pub fn park_ahead(self, pairs: &[Pair<'_>]) {
        for some in pairs.chunks(DESCRIPTORS_MAX / 2) {
            let (_lots, parked) = self.send_pairs(some);
            if parked {
                enter_pairs(some, parked);
            }
        }
    }

    fn send_pairs(self, pairs: &[Pair<'_>]) -> (RwLockReadGuard<'static, Lots>, bool) {
        let entries: Vec<Entry> = pairs
            .iter()
            .map(|(slot, ..)| entry(slot.index(), connected(*slot, false)))
            .collect();
        let descriptors: Vec<RawFd> = pairs
            .iter()
            .flat_map(|(_, client, upstream)| [client.as_raw_fd(), upstream.as_raw_fd()])
            .collect();
        self.send(&entries, &descriptors)
    }

    fn enter(self, slot: Slot, phase: Phase, client: RawFd, upstream: Option<RawFd>) -> bool {
        let state = State {
            phase,
            ..slot.state()
        };
        let entry = entry(slot.index(), state);
        let descriptors = [client, upstream.unwrap_or(-1)];
        let (_lots, parked) = self.send(&[entry], &descriptors[..entry.descriptors()]);
        self.note(parked);
        slot.raw().client.store(client as u32, Release);
        if let Some(upstream) = upstream {
            slot.raw().upstream.store(upstream as u32, Release);
        }
        slot.set_state(State { parked, ..state });
        parked
    }

    /// They were parked, or are to be parked later.
    fn note(self, parked: bool) {
        if !parked {
            self.core.has_unparked.store(true, SeqCst);
        }
    }

    /// The connection has ended: what is in the lot of it does not count any more. Close its sockets
    /// afterwards.
    pub fn release(self, slot: Slot) {
        let _lots = self.lots();
        self.free_slot(slot.index());
    }

    pub(super) fn free_slot(self, index: u32) {
        self.core.places.remove(Kind::Client, index);
        self.core.table.free(index);
    }

    pub(super) fn free_pipe(self, index: u32) {
        self.core.places.remove(Kind::Pipe, index);
        self.core.table.free_pipe(index);
    }

    /// Sends one message to the active lot, after making room if it is full; whether it is in there. The
    /// lots stay as they are until what is returned is dropped.
    pub(super) fn send(
        self,
        entries: &[Entry],
        descriptors: &[RawFd],
    ) -> (RwLockReadGuard<'static, Lots>, bool) {
        let mut lots = self.lots();
        for left in (0..TRIES).rev() {
            let side = self.active();
            let why = match lots.send(side, entries, descriptors, Purpose::Parking) {
                Ok(()) => {
                    let places = &self.core.places;
                    entries.iter().for_each(|entry| places.put(*entry, side));
                    return (lots, true);
                }
                Err(Refused::Because(_)) => break,
                Err(why) => why,
            };
            if left == 0 {
                break;
            }
            let round = lots.round;
            drop(lots);
            let is_recycled = self.recycle(round, why);
            lots = self.lots();
            if !is_recycled {
                break;
            }
        }
        (lots, false)
    }

    pub(super) fn lots(self) -> RwLockReadGuard<'static, Lots> {
        let lots = &self.core.lots;
        lots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which lot is parked in.
    pub(super) fn active(self) -> Side {
        self.core.table.header().active.load(Relaxed) as Side
    }
}

fn enter_pairs(pairs: &[Pair<'_>], parked: bool) {
    for (slot, client, upstream) in pairs {
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

/// What is said of a slot in the lot.
pub(super) fn entry(index: u32, state: State) -> Entry {
    Entry {
        kind: match state.phase {
            Phase::Connected => Kind::Pair,
            _ => Kind::Client,
        },
        index,
        generation: state.generation,
    }
}
