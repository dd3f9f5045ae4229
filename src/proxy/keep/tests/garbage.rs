//! What a hostile or broken process writes into its table ends its own connections, and nothing else.

use proptest::prelude::*;

use super::*;
use crate::proxy::keep::table::layout::{PIPES_AT, RawSlot, SLOTS_AT};

const CONNECTIONS: usize = 4;

/// Words as they may be in a table, and any others.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..8,
        // A buffer or a pipe, of any number.
        (1u64..3, any::<u32>()).prop_map(|(kind, number)| kind << 32 | u64::from(number)),
        // A state: generation, parked, phase.
        (0u64..3, 0u64..2, 0u64..8)
            .prop_map(|(age, parked, phase)| age << 32 | parked << 8 | phase),
        (1u64..70_000).prop_map(|count| u64::MAX - count),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_words_in_slots_and_pipes_are_survived(
        words in prop::collection::vec((0..CONNECTIONS * size_of::<RawSlot>() / 8 + 64, word()), 1..60),
    ) {
        let before = first();
        let through: Vec<Through> = (0..CONNECTIONS).map(|_| Through::new(before)).collect();
        let table = before.core.parking.table.file();
        let slots = CONNECTIONS * size_of::<RawSlot>() / 8;
        for (place, word) in words {
            let at = match place.checked_sub(slots) {
                None => SLOTS_AT + place * 8,
                Some(pipe) => PIPES_AT + pipe * 8,
            };
            rustix::io::pwrite(table, &word.to_ne_bytes(), at as u64).unwrap();
        }
        let (next, restoration) = next(before);
        prop_assert!(restoration.connections.len() <= CONNECTIONS);
        // It can keep new ones.
        let _new = Through::new(next);
        drop(through);
    }
}
