//! Which token belongs to which connection: a pure state machine.
//!
//! A slot is a pipe, by its number. That a pipe has no writer any more is an event, [`Slots::release`].

use std::collections::BTreeMap;

/// The free slots that are kept although no client has come for a long time.
pub(super) const SPARE: usize = 16;

#[derive(Debug)]
enum SlotState<C> {
    /// There is no token.
    Free,
    /// The token is ours, for the next client.
    Taken,
    /// The receiver has the token, and we have the connection.
    HandedOver(C),
    /// The receiver has the token, of a connection that an earlier process handed over.
    Orphan,
}

/// What has ended, now that a slot has no writer any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Release<C> {
    /// No connection had the slot.
    NoConnection,
    Connection(C),
    /// A connection of an earlier process.
    Orphan,
}

#[derive(Debug)]
pub(super) struct Slots<C> {
    slots: BTreeMap<u32, SlotState<C>>,
    /// The free slots; the one that was used last is used first.
    free: Vec<u32>,
    /// The fewest that were free at any time since [`Self::trim`].
    fewest_free: usize,
    handed_over: usize,
    orphans: usize,
}

impl<C> Default for Slots<C> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            free: Vec::new(),
            fewest_free: 0,
            handed_over: 0,
            orphans: 0,
        }
    }
}

impl<C> Slots<C> {
    /// Takes a free slot for the next client, if there is one.
    pub(super) fn take(&mut self) -> Option<u32> {
        let number = self.free.pop()?;
        self.fewest_free = self.fewest_free.min(self.free.len());
        self.slots.insert(number, SlotState::Taken);
        Some(number)
    }

    /// The number for a new slot.
    pub(super) fn next_number(&self) -> u32 {
        self.slots.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// Adds a new slot, taken for the next client.
    pub(super) fn add(&mut self, number: u32) {
        let before = self.slots.insert(number, SlotState::Taken);
        debug_assert!(before.is_none(), "slot {number} is in use");
    }

    /// Adds a slot of an earlier process, whose token a receiver has.
    pub(super) fn add_orphan(&mut self, number: u32) {
        let before = self.slots.insert(number, SlotState::Orphan);
        debug_assert!(before.is_none(), "slot {number} is in use");
        self.orphans += 1;
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.slots.contains_key(&number)
    }

    /// Frees a taken slot: the client did not come, or was not handed over.
    pub(super) fn give_back(&mut self, number: u32) {
        if matches!(self.slots.get(&number), Some(SlotState::Taken)) {
            self.slots.insert(number, SlotState::Free);
            self.free.push(number);
        }
    }

    /// The token of a taken slot goes with this connection.
    pub(super) fn hand_over(&mut self, number: u32, connection: C) {
        let before = self.slots.insert(number, SlotState::HandedOver(connection));
        debug_assert!(
            matches!(before, Some(SlotState::Taken)),
            "slot {number} was not taken"
        );
        self.handed_over += 1;
    }

    /// Gives the slot of an earlier process its connection. Returns the connection if the slot is not, or no
    /// longer, one of an earlier process.
    pub(super) fn reclaim(&mut self, number: u32, connection: C) -> Result<(), C> {
        match self.slots.get_mut(&number) {
            Some(slot @ SlotState::Orphan) => {
                *slot = SlotState::HandedOver(connection);
                self.orphans -= 1;
                self.handed_over += 1;
                Ok(())
            }
            _ => Err(connection),
        }
    }

    /// Frees a slot that has no writer any more.
    pub(super) fn release(&mut self, number: u32) -> Release<C> {
        let Some(slot) = self.slots.get_mut(&number) else {
            return Release::NoConnection;
        };
        let release = match std::mem::replace(slot, SlotState::Free) {
            SlotState::HandedOver(connection) => {
                self.handed_over -= 1;
                Release::Connection(connection)
            }
            SlotState::Orphan => {
                self.orphans -= 1;
                Release::Orphan
            }
            // The token is still ours.
            other => {
                *slot = other;
                return Release::NoConnection;
            }
        };
        self.free.push(number);
        release
    }

    /// Returns the connection of a slot, to be ended without the receiver. The slot is given up, because the
    /// receiver may keep its token for as long as it likes.
    pub(super) fn cut(&mut self, number: u32) -> Option<C> {
        match self.slots.remove(&number)? {
            SlotState::HandedOver(connection) => {
                self.handed_over -= 1;
                Some(connection)
            }
            other => {
                self.slots.insert(number, other);
                None
            }
        }
    }

    /// Gives up the slots that were not needed since the last call, except for [`SPARE`]. Returns them.
    pub(super) fn trim(&mut self) -> Vec<u32> {
        let surplus = self.give_up(self.fewest_free.saturating_sub(SPARE));
        self.fewest_free = self.free.len();
        surplus
    }

    /// Gives up all free slots. Returns them.
    pub(super) fn shrink(&mut self) -> Vec<u32> {
        self.give_up(self.free.len())
    }

    /// Begins with the slots that were used the longest time ago.
    fn give_up(&mut self, count: usize) -> Vec<u32> {
        let surplus: Vec<u32> = self.free.drain(..count).collect();
        for number in &surplus {
            self.slots.remove(number);
        }
        self.fewest_free = self.fewest_free.min(self.free.len());
        surplus
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// The number of connections that were handed over and that we can end.
    pub(super) fn handed_over(&self) -> usize {
        self.handed_over
    }

    /// The number of connections that an earlier process handed over.
    pub(super) fn orphans(&self) -> usize {
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
            slots.hand_over(1, client);
            assert_eq!((slots.take(), slots.handed_over()), (None, 1));
            assert_eq!(slots.release(1), Release::Connection(client));
            assert_eq!(slots.release(1), Release::NoConnection);
            assert_eq!(slots.take(), Some(1));
        }
    }

    #[test]
    fn a_token_that_is_still_ours_ends_no_connection() {
        let mut slots = Slots::<()>::default();
        slots.add(1);
        assert_eq!(slots.release(1), Release::NoConnection);
        slots.give_back(1);
        assert_eq!(slots.release(1), Release::NoConnection);
        assert_eq!(slots.release(7), Release::NoConnection);
        assert_eq!(slots.take(), Some(1));
    }

    #[test]
    fn one_that_was_cut_is_never_used_again() {
        let mut slots = Slots::default();
        slots.add(1);
        slots.hand_over(1, "client");
        assert_eq!(slots.cut(1), Some("client"));
        assert_eq!(slots.cut(1), None);
        assert_eq!(slots.release(1), Release::NoConnection);
        assert_eq!((slots.take(), slots.contains(1)), (None, false));
    }

    #[test]
    fn what_an_earlier_process_handed_over_counts_until_its_end_and_cannot_be_cut() {
        let mut slots = Slots::<()>::default();
        slots.add_orphan(3);
        assert_eq!((slots.cut(3), slots.orphans()), (None, 1));
        assert_eq!(slots.next_number(), 4);
        assert_eq!(slots.release(3), Release::Orphan);
        assert_eq!((slots.orphans(), slots.take()), (0, Some(3)));
    }

    #[test]
    fn slots_that_were_not_needed_for_a_while_are_given_up_but_for_a_few() {
        let mut slots = Slots::default();
        for number in 1..=100 {
            slots.add(number);
            slots.hand_over(number, ());
        }
        assert_eq!(slots.trim(), [0; 0]);
        for number in 1..=100 {
            slots.release(number);
        }
        assert_eq!(slots.trim(), [0; 0], "all of them were needed since");
        for _ in 0..2 {
            let number = slots.take().unwrap();
            slots.give_back(number);
        }
        assert_eq!(slots.trim().len(), 99 - SPARE);
        assert_eq!(slots.trim().len(), 1);
        assert_eq!((slots.trim(), slots.free()), (vec![], SPARE));
        assert_eq!(slots.shrink().len(), SPARE);
        assert_eq!((slots.take(), slots.free()), (None, 0));
    }

    #[derive(Clone, Debug)]
    enum SlotEvent {
        Take,
        Orphan,
        GiveBack(u32),
        HandOver(u32),
        Release(u32),
        Cut(u32),
        Trim,
    }

    fn event() -> impl Strategy<Value = SlotEvent> {
        let number = 1u32..20;
        prop_oneof![
            3 => Just(SlotEvent::Take),
            1 => Just(SlotEvent::Orphan),
            1 => number.clone().prop_map(SlotEvent::GiveBack),
            4 => number.clone().prop_map(SlotEvent::HandOver),
            4 => number.clone().prop_map(SlotEvent::Release),
            1 => number.prop_map(SlotEvent::Cut),
            1 => Just(SlotEvent::Trim),
        ]
    }

    proptest! {
        /// Every connection that goes in comes out once, those that were handed over are counted, and no slot
        /// belongs to two connections.
        #[test]
        fn every_connection_comes_out_exactly_once(
            events in prop::collection::vec(event(), 0..300),
        ) {
            let mut slots = Slots::default();
            let (mut taken, mut served) = (BTreeSet::new(), BTreeMap::new());
            let (mut orphans, mut clients) = (BTreeSet::new(), 0);
            for event in events {
                match event {
                    SlotEvent::Take => {
                        let number = slots.take().unwrap_or_else(|| {
                            let number = slots.next_number();
                            slots.add(number);
                            number
                        });
                        prop_assert!(taken.insert(number));
                        prop_assert!(!served.contains_key(&number) && !orphans.contains(&number));
                    }
                    SlotEvent::Orphan => {
                        let number = slots.next_number();
                        slots.add_orphan(number);
                        orphans.insert(number);
                    }
                    SlotEvent::GiveBack(number) => {
                        slots.give_back(number);
                        taken.remove(&number);
                    }
                    SlotEvent::HandOver(number) if taken.remove(&number) => {
                        clients += 1;
                        slots.hand_over(number, clients);
                        served.insert(number, clients);
                    }
                    SlotEvent::HandOver(_) => {}
                    SlotEvent::Release(number) => match slots.release(number) {
                        Release::Connection(client) => {
                            prop_assert_eq!(served.remove(&number), Some(client));
                        }
                        Release::Orphan => prop_assert!(orphans.remove(&number)),
                        Release::NoConnection => {
                            prop_assert!(!served.contains_key(&number));
                            prop_assert!(!orphans.contains(&number));
                        }
                    },
                    SlotEvent::Cut(number) => prop_assert_eq!(slots.cut(number), served.remove(&number)),
                    SlotEvent::Trim => for number in slots.trim() {
                        prop_assert!(!slots.contains(number));
                        prop_assert!(!taken.contains(&number) && !served.contains_key(&number));
                    },
                }
                prop_assert_eq!(slots.handed_over(), served.len());
                prop_assert_eq!(slots.orphans(), orphans.len());
            }
        }
    }
}
