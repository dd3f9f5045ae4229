//! Which token belongs to which connection: a pure state machine.
//!
//! A slot is a pipe. Its number goes in; what is to be done with it comes out. That a pipe has no
//! writer any more is an event, [`Slots::released`].

use std::collections::BTreeMap;

/// So many slots are kept for those who come next, also when nobody has come for a long time.
pub const SPARE: usize = 16;

#[derive(Debug)]
enum Slot<C> {
    /// Nobody has its token.
    Free,
    /// It is there for the next client; the token is still ours.
    Taken,
    /// The receiver has the token, and we have the connection.
    Handed(C),
    /// The receiver has the token, of a connection that an earlier process handed over.
    Orphan,
}

/// What it means that a slot has no writer any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<C> {
    /// Nothing: its token was nobody's.
    Nothing,
    /// The receiver is done with this connection.
    Connection(C),
    /// It is done with one of an earlier process.
    Orphan,
}

/// All slots.
#[derive(Debug)]
pub struct Slots<C> {
    slots: BTreeMap<u32, Slot<C>>,
    /// Those that were used last are used first.
    free: Vec<u32>,
    /// The fewest that were free at any time since [`Self::unused`].
    fewest_free: usize,
    handed: usize,
    orphans: usize,
}

impl<C> Default for Slots<C> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            free: Vec::new(),
            fewest_free: 0,
            handed: 0,
            orphans: 0,
        }
    }
}

impl<C> Slots<C> {
    /// A slot for the next client, if there is a free one.
    pub fn take(&mut self) -> Option<u32> {
        let number = self.free.pop()?;
        self.fewest_free = self.fewest_free.min(self.free.len());
        self.slots.insert(number, Slot::Taken);
        Some(number)
    }

    /// The number that a new slot should have.
    pub fn next_number(&self) -> u32 {
        self.slots.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// There is a new slot for the next client.
    pub fn add(&mut self, number: u32) {
        let before = self.slots.insert(number, Slot::Taken);
        debug_assert!(before.is_none(), "slot {number} is in use");
    }

    /// A slot was found that an earlier process has left, with a token that somebody has.
    pub fn add_orphan(&mut self, number: u32) {
        let before = self.slots.insert(number, Slot::Orphan);
        debug_assert!(before.is_none(), "slot {number} is in use");
        self.orphans += 1;
    }

    /// Whether there is a slot of this number.
    pub fn contains(&self, number: u32) -> bool {
        self.slots.contains_key(&number)
    }

    /// The client did not come, or was not handed over.
    pub fn give_back(&mut self, number: u32) {
        if matches!(self.slots.get(&number), Some(Slot::Taken)) {
            self.slots.insert(number, Slot::Free);
            self.free.push(number);
        }
    }

    /// The token of a slot that was taken goes with this connection.
    pub fn hand(&mut self, number: u32, connection: C) {
        let before = self.slots.insert(number, Slot::Handed(connection));
        debug_assert!(
            matches!(before, Some(Slot::Taken)),
            "slot {number} was not taken"
        );
        self.handed += 1;
    }

    /// Here is the connection of a slot that was thought to be lost.
    ///
    /// # Errors
    ///
    /// The connection, when the slot is not (any more) one of an earlier process.
    pub fn reclaim(&mut self, number: u32, connection: C) -> Result<(), C> {
        match self.slots.get_mut(&number) {
            Some(slot @ Slot::Orphan) => {
                *slot = Slot::Handed(connection);
                self.orphans -= 1;
                self.handed += 1;
                Ok(())
            }
            _ => Err(connection),
        }
    }

    /// The slot has no writer any more.
    pub fn released(&mut self, number: u32) -> Released<C> {
        let Some(slot) = self.slots.get_mut(&number) else {
            return Released::Nothing;
        };
        let released = match std::mem::replace(slot, Slot::Free) {
            Slot::Handed(connection) => {
                self.handed -= 1;
                Released::Connection(connection)
            }
            Slot::Orphan => {
                self.orphans -= 1;
                Released::Orphan
            }
            // Nobody can have closed what is still ours.
            other => {
                *slot = other;
                return Released::Nothing;
            }
        };
        self.free.push(number);
        released
    }

    /// The connection of a slot is ended without the receiver. The slot is given up: whoever has its
    /// token may keep it for as long as it likes.
    pub fn cut(&mut self, number: u32) -> Option<C> {
        if !matches!(self.slots.get(&number), Some(Slot::Handed(_))) {
            return None;
        }
        match self.slots.remove(&number) {
            Some(Slot::Handed(connection)) => {
                self.handed -= 1;
                Some(connection)
            }
            _ => None,
        }
    }

    /// Gives up the slots that nobody has needed since the last call, but for a few, so that they
    /// hold no descriptors.
    pub fn unused(&mut self) -> Vec<u32> {
        let surplus = self.give_up(self.fewest_free.saturating_sub(SPARE));
        self.fewest_free = self.free.len();
        surplus
    }

    /// Gives up all free slots.
    pub fn all_free(&mut self) -> Vec<u32> {
        self.give_up(self.free.len())
    }

    /// Those that were not used for the longest time are the first.
    fn give_up(&mut self, count: usize) -> Vec<u32> {
        let given_up: Vec<u32> = self.free.drain(..count).collect();
        for number in &given_up {
            self.slots.remove(number);
        }
        self.fewest_free = self.fewest_free.min(self.free.len());
        given_up
    }

    /// Slots that nobody needs now.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Connections that the receiver has and that we can end.
    pub fn handed(&self) -> usize {
        self.handed
    }

    /// Connections that an earlier process handed over.
    pub fn orphan_count(&self) -> usize {
        self.orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_slot_serves_one_connection_after_the_other() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(), None);
        slots.add(slots.next_number());
        for client in ["first", "second", "third"] {
            slots.hand(1, client);
            assert_eq!((slots.take(), slots.handed()), (None, 1));
            assert_eq!(slots.released(1), Released::Connection(client));
            assert_eq!(slots.released(1), Released::Nothing);
            assert_eq!(slots.take(), Some(1));
        }
    }

    #[test]
    fn a_token_that_is_still_ours_is_nobodys_end() {
        let mut slots = Slots::<()>::default();
        slots.add(1);
        assert_eq!(slots.released(1), Released::Nothing);
        slots.give_back(1);
        assert_eq!(slots.released(1), Released::Nothing);
        assert_eq!(slots.released(7), Released::Nothing);
        assert_eq!(slots.take(), Some(1));
    }

    #[test]
    fn one_that_was_cut_is_never_used_again() {
        let mut slots = Slots::default();
        slots.add(1);
        slots.hand(1, "client");
        assert_eq!(slots.cut(1), Some("client"));
        assert_eq!(slots.cut(1), None);
        assert_eq!(slots.released(1), Released::Nothing);
        assert_eq!((slots.take(), slots.contains(1)), (None, false));
    }

    #[test]
    fn what_an_earlier_process_handed_over_counts_until_its_end_and_cannot_be_cut() {
        let mut slots = Slots::<()>::default();
        slots.add_orphan(3);
        assert_eq!((slots.cut(3), slots.orphan_count()), (None, 1));
        assert_eq!(slots.next_number(), 4);
        assert_eq!(slots.released(3), Released::Orphan);
        assert_eq!((slots.orphan_count(), slots.take()), (0, Some(3)));
    }

    #[test]
    fn slots_that_nobody_has_needed_for_a_while_are_given_up_but_for_a_few() {
        let mut slots = Slots::default();
        for number in 1..=100 {
            slots.add(number);
            slots.hand(number, ());
        }
        assert_eq!(slots.unused(), [0; 0]);
        for number in 1..=100 {
            slots.released(number);
        }
        assert_eq!(slots.unused(), [0; 0], "all of them were needed since");
        for _ in 0..2 {
            let number = slots.take().unwrap();
            slots.give_back(number);
        }
        assert_eq!(slots.unused().len(), 99 - SPARE);
        assert_eq!(slots.unused().len(), 1);
        assert_eq!((slots.unused(), slots.free()), (vec![], SPARE));
        assert_eq!(slots.all_free().len(), SPARE);
        assert_eq!((slots.take(), slots.free()), (None, 0));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Take,
        Found,
        GiveBack(u32),
        Hand(u32),
        Released(u32),
        Cut(u32),
        Trim,
    }

    fn event() -> impl Strategy<Value = Event> {
        let number = 1u32..20;
        prop_oneof![
            3 => Just(Event::Take),
            1 => Just(Event::Found),
            1 => number.clone().prop_map(Event::GiveBack),
            4 => number.clone().prop_map(Event::Hand),
            4 => number.clone().prop_map(Event::Released),
            1 => number.prop_map(Event::Cut),
            1 => Just(Event::Trim),
        ]
    }

    proptest! {
        /// Whatever happens: every connection that goes in comes out once, what was handed over is
        /// what is counted, and no slot is given to two.
        #[test]
        fn every_connection_comes_out_exactly_once(
            events in prop::collection::vec(event(), 0..300),
        ) {
            let mut slots = Slots::default();
            let (mut taken, mut handed) = (BTreeSet::new(), BTreeMap::new());
            let (mut orphans, mut clients) = (BTreeSet::new(), 0);
            for event in events {
                match event {
                    Event::Take => {
                        let number = slots.take().unwrap_or_else(|| {
                            let number = slots.next_number();
                            slots.add(number);
                            number
                        });
                        prop_assert!(taken.insert(number));
                        prop_assert!(!handed.contains_key(&number) && !orphans.contains(&number));
                    }
                    Event::Found => {
                        let number = slots.next_number();
                        slots.add_orphan(number);
                        orphans.insert(number);
                    }
                    Event::GiveBack(number) => {
                        slots.give_back(number);
                        taken.remove(&number);
                    }
                    Event::Hand(number) if taken.remove(&number) => {
                        clients += 1;
                        slots.hand(number, clients);
                        handed.insert(number, clients);
                    }
                    Event::Hand(_) => {}
                    Event::Released(number) => match slots.released(number) {
                        Released::Connection(client) => {
                            prop_assert_eq!(handed.remove(&number), Some(client));
                        }
                        Released::Orphan => prop_assert!(orphans.remove(&number)),
                        Released::Nothing => {
                            prop_assert!(!handed.contains_key(&number));
                            prop_assert!(!orphans.contains(&number));
                        }
                    },
                    Event::Cut(number) => prop_assert_eq!(slots.cut(number), handed.remove(&number)),
                    Event::Trim => for number in slots.unused() {
                        prop_assert!(!slots.contains(number));
                        prop_assert!(!taken.contains(&number) && !handed.contains_key(&number));
                    },
                }
                prop_assert_eq!(slots.handed(), handed.len());
                prop_assert_eq!(slots.orphan_count(), orphans.len());
            }
        }
    }
}
