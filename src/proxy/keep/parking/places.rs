//! Which lot each connection and pipe is in, as far as this process knows.
//!
//! The content of a lot does not show that: of a connection that was parked more than once the last message
//! counts, and of one that has ended none. So this is written down, in memory of our own, under the lock of
//! the lots, and with it how many descriptors in the lots are of use.

use std::sync::atomic::{
    AtomicU8, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use super::lots::LotSide;
use super::message::{Kind, LotEntry};
use crate::proxy::keep::table::layout::PIPES;

/// In no lot.
const NO_LOT: u8 = 0;

/// Where connections and pipes are.
#[derive(Debug)]
pub struct LotPlaces {
    slots: Box<[AtomicU8]>,
    pipes: Box<[AtomicU8]>,
    useful: AtomicUsize,
}

impl LotPlaces {
    /// For `slots` slots, all of them in no lot.
    pub fn new(slots: u32) -> Self {
        let empty = |count| (0..count).map(|_| AtomicU8::new(NO_LOT)).collect();
        Self {
            slots: empty(slots as usize),
            pipes: empty(PIPES),
            useful: AtomicUsize::new(0),
        }
    }

    fn place(&self, kind: Kind, index: u32) -> Option<&AtomicU8> {
        match kind {
            Kind::Client | Kind::Pair => self.slots.get(index as usize),
            Kind::Pipe => self.pipes.get(index as usize),
            Kind::Stray => None,
        }
    }

    /// It is in that lot now. A copy in the other one does not count any more.
    pub fn put(&self, entry: LotEntry, side: LotSide) {
        let place = 1 + side as u8 + 2 * (entry.descriptors() as u8 - 1);
        self.set(entry.kind, entry.index, place);
    }

    /// It does not count any more, in either lot.
    pub fn remove(&self, kind: Kind, index: u32) {
        self.set(kind, index, NO_LOT);
    }

    fn set(&self, kind: Kind, index: u32, place: u8) {
        if let Some(known) = self.place(kind, index) {
            let before = descriptors(known.swap(place, Relaxed));
            self.useful.fetch_add(descriptors(place), SeqCst);
            self.useful.fetch_sub(before, SeqCst);
        }
    }

    pub fn side(&self, kind: Kind, index: u32) -> Option<LotSide> {
        match self.place(kind, index)?.load(Relaxed) {
            NO_LOT => None,
            place => Some(usize::from(place - 1) % 2),
        }
    }

    /// Descriptors in the lots that are of use.
    pub fn useful(&self) -> usize {
        self.useful.load(SeqCst)
    }
}

fn descriptors(place: u8) -> usize {
    match place {
        NO_LOT => 0,
        place => usize::from(place - 1) / 2 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_counts() {
        let places = LotPlaces::new(2);
        let entry = |kind, index| LotEntry {
            kind,
            index,
            generation: 7,
        };
        places.put(entry(Kind::Client, 1), 0);
        assert_eq!((places.side(Kind::Pair, 1), places.useful()), (Some(0), 1));
        places.put(entry(Kind::Pair, 1), 1);
        places.put(entry(Kind::Pipe, 1), 0);
        assert_eq!(places.side(Kind::Client, 1), Some(1));
        assert_eq!((places.side(Kind::Pipe, 1), places.useful()), (Some(0), 4));
        assert_eq!(places.side(Kind::Client, 0), None);
        places.remove(Kind::Client, 1);
        assert_eq!((places.side(Kind::Pair, 1), places.useful()), (None, 2));
        places.put(LotEntry::STRAY, 0);
        places.put(entry(Kind::Client, 2), 0);
        assert_eq!(places.useful(), 2, "neither has a place");
    }
}
