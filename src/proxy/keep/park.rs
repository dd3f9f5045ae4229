//! Parking, releasing, and getting rid of what has ended.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::PoisonError;
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::layout::{Phase, State};
use super::lots::{Lots, Refused, Side};
use super::message::{DESCRIPTORS_MAX, Entry, Kind};
use super::slot::Slot;
use super::table::NONE;
use super::{Keep, lock};

/// After a lot could not be recycled, so many are not parked before it is tried again.
const REFUSALS: usize = 256;

/// How recycling goes.
#[derive(Debug, Default)]
pub(super) struct Parking {
    refusals: usize,
}

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

    /// Parks the client of a slot whatever its phase.
    pub fn park_again(self, slot: Slot, client: BorrowedFd<'_>) -> bool {
        self.enter(slot, slot.phase(), client.as_raw_fd(), None)
    }

    /// Parks several clients with their upstreams: those of which none was parked yet, with few calls.
    /// To be called before anything is received from them.
    pub fn park_together(self, pairs: &[(Slot, BorrowedFd<'_>, BorrowedFd<'_>)]) {
        for some in pairs.chunks(DESCRIPTORS_MAX / 2) {
            let entries: Vec<Entry> = some
                .iter()
                .map(|(slot, ..)| entry(slot.index(), connected(*slot, false)))
                .collect();
            let descriptors: Vec<RawFd> = some
                .iter()
                .flat_map(|(_, client, upstream)| [client.as_raw_fd(), upstream.as_raw_fd()])
                .collect();
            let (_lots, parked) = self.send(&entries, &descriptors);
            for (slot, client, upstream) in some {
                let raw = slot.raw();
                raw.client.store(client.as_raw_fd() as u32, Release);
                raw.upstream.store(upstream.as_raw_fd() as u32, Release);
                slot.set_state(connected(*slot, parked));
            }
        }
    }

    fn enter(self, slot: Slot, phase: Phase, client: RawFd, upstream: Option<RawFd>) -> bool {
        let state = State {
            phase,
            ..slot.state()
        };
        let entry = entry(slot.index(), state);
        let descriptors = [client, upstream.unwrap_or(-1)];
        let (_lots, parked) = self.send(&[entry], &descriptors[..entry.descriptors()]);
        slot.raw().client.store(client as u32, Release);
        if let Some(upstream) = upstream {
            slot.raw().upstream.store(upstream as u32, Release);
        }
        slot.set_state(State { parked, ..state });
        parked
    }

    /// The connection has ended: what is in the lot of it does not count any more. Close its sockets
    /// afterwards.
    pub fn release(self, slot: Slot) {
        let _lots = self.lots();
        self.core.table.free(slot.index());
    }

    /// Sends one message to the active lot, after making room if it is full; whether it is in there. The
    /// lot stays the active one until what is returned is dropped.
    pub(super) fn send(
        self,
        entries: &[Entry],
        descriptors: &[RawFd],
    ) -> (RwLockReadGuard<'static, Lots>, bool) {
        let lots = self.lots();
        let side = self.active();
        match lots.send(side, entries, descriptors) {
            Ok(()) => return (lots, true),
            Err(_) => drop(lots),
        }
        self.recycle(side);
        let lots = self.lots();
        let sent = lots.send(self.active(), entries, descriptors);
        (lots, sent.is_ok())
    }

    pub(super) fn lots(self) -> RwLockReadGuard<'static, Lots> {
        let lots = &self.core.lots;
        lots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which lot is complete.
    pub(super) fn active(self) -> Side {
        self.core.table.header().active.load(Relaxed) as Side
    }

    /// Lets go of what the kernel holds for connections that have ended. The work is that of parking all
    /// that live.
    pub fn tidy(self) {
        self.recycle(self.active());
    }

    /// Makes the other lot the active one, unless somebody has done so since it was `side`.
    fn recycle(self, side: Side) {
        let mut parking = lock(&self.core.recycling);
        if self.active() != side {
            return;
        }
        if parking.refusals > 0 {
            parking.refusals -= 1;
            return;
        }
        let all = self.core.lots.write();
        let lots = all.unwrap_or_else(PoisonError::into_inner);
        if self.park_all(&lots, 1 - side) {
            self.core
                .table
                .header()
                .active
                .store(1 - side as u32, Release);
        } else {
            parking.refusals = REFUSALS;
        }
        drop(lots);
        // Nobody parks here any more. What was left behind of an attempt that has failed goes as well.
        let inactive = 1 - self.active();
        self.lots().empty(inactive);
    }

    /// Parks everything that lives in an empty lot; whether all of it is in there.
    pub(super) fn park_all(self, lots: &Lots, side: Side) -> bool {
        let mut batch = Batch::default();
        let mut complete = true;
        for (entry, descriptors) in self.live().chain(self.live_pipes()) {
            if batch.is_full(entry) {
                complete &= batch.send(lots, side);
            }
            batch.add(entry, descriptors);
        }
        complete & batch.send(lots, side)
    }

    /// All connections with their descriptors.
    fn live(self) -> impl Iterator<Item = (Entry, [RawFd; 2])> {
        let table = &self.core.table;
        (0..table.top()).filter_map(|index| {
            let slot = table.slot(index)?;
            let state = State::of(slot.state.load(Relaxed));
            let client = slot.client.load(Relaxed);
            if !state.phase.is_live() || client == NONE {
                return None;
            }
            let upstream = slot.upstream.load(Relaxed);
            Some((entry(index, state), [client as RawFd, upstream as RawFd]))
        })
    }

    fn live_pipes(self) -> impl Iterator<Item = (Entry, [RawFd; 2])> {
        let table = &self.core.table;
        (0..table.pipes_top()).filter_map(|index| {
            let pipe = table.pipe(index)?;
            let state = State::of(pipe.state.load(Relaxed));
            if !state.parked {
                return None;
            }
            let entry = Entry {
                kind: Kind::Pipe,
                index,
                generation: state.generation,
            };
            let ends = [&pipe.read, &pipe.write];
            Some((entry, ends.map(|end| end.load(Relaxed) as RawFd)))
        })
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
fn entry(index: u32, state: State) -> Entry {
    Entry {
        kind: match state.phase {
            Phase::Connected => Kind::Pair,
            _ => Kind::Client,
        },
        index,
        generation: state.generation,
    }
}

/// What is sent together.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    descriptors: Vec<RawFd>,
}

impl Batch {
    fn is_full(&self, entry: Entry) -> bool {
        self.descriptors.len() + entry.descriptors() > DESCRIPTORS_MAX
    }

    fn add(&mut self, entry: Entry, descriptors: [RawFd; 2]) {
        self.entries.push(entry);
        self.descriptors
            .extend_from_slice(&descriptors[..entry.descriptors()]);
    }

    /// Sends it, and if one of the descriptors spoils it, each by itself; whether all were sent.
    fn send(&mut self, lots: &Lots, side: Side) -> bool {
        let entries = std::mem::take(&mut self.entries);
        let descriptors = std::mem::take(&mut self.descriptors);
        if entries.is_empty() {
            return true;
        }
        match lots.send(side, &entries, &descriptors) {
            Ok(()) => true,
            Err(Refused::Full) => false,
            Err(Refused::Because(rustix::io::Errno::BADF)) => {
                let mut rest = descriptors.as_slice();
                entries.into_iter().all(|entry| {
                    let (own, others) = rest.split_at(entry.descriptors());
                    rest = others;
                    // One that is not open is nobody's loss.
                    !matches!(lots.send(side, &[entry], own), Err(Refused::Full))
                })
            }
            Err(Refused::Because(_)) => false,
        }
    }
}
