//! What a message in a lot says: which slots and pipes its descriptors belong to (pure).

use crate::proxy::keep::table::layout::{Phase, State};
use crate::service::rights::DESCRIPTORS_MAX;

/// Bytes of an entry.
pub const ENTRY: usize = 8;

/// The longest message, in bytes.
pub(super) const BYTES_MAX: usize = DESCRIPTORS_MAX * ENTRY;

/// What an entry's descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A slot's client.
    Client = 0,
    /// A slot's client and upstream.
    Pair = 1,
    /// The reading and the writing end of a pipe.
    Pipe = 2,
    /// A stream socket that was not in the table.
    Stray = 3,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Client, Self::Pair, Self::Pipe, Self::Stray];
}

/// An entry of a message: one descriptor or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotEntry {
    pub kind: Kind,
    /// Of the slot or the pipe, below 2³⁰.
    pub index: u32,
    pub generation: u32,
}

impl LotEntry {
    /// A socket that was not in the table.
    pub const STRAY: Self = Self {
        kind: Kind::Stray,
        index: 0,
        generation: 0,
    };

    /// The entry for a slot in this state.
    pub fn of_slot(index: u32, state: State) -> Self {
        Self {
            kind: match state.phase {
                Phase::Connected => Kind::Pair,
                _ => Kind::Client,
            },
            index,
            generation: state.generation,
        }
    }

    pub fn descriptors(self) -> usize {
        match self.kind {
            Kind::Client | Kind::Stray => 1,
            Kind::Pair | Kind::Pipe => 2,
        }
    }

    /// As it is sent.
    pub fn bytes(self) -> [u8; ENTRY] {
        let first = (self.kind as u32) << 30 | self.index & (u32::MAX >> 2);
        (u64::from(self.generation) << 32 | u64::from(first)).to_le_bytes()
    }

    fn read(bytes: [u8; ENTRY]) -> Self {
        let word = u64::from_le_bytes(bytes);
        Self {
            kind: Kind::ALL[(word >> 30) as usize & 3],
            index: word as u32 & (u32::MAX >> 2),
            generation: (word >> 32) as u32,
        }
    }
}

/// Reads a message that came with `descriptors` descriptors; `None` if its entries have more or fewer.
pub fn entries(bytes: &[u8], descriptors: usize) -> Option<Vec<LotEntry>> {
    let entries = read_entries(bytes);
    let count: usize = entries.iter().map(|entry| entry.descriptors()).sum();
    (bytes.len() % ENTRY == 0 && count == descriptors).then_some(entries)
}

/// Reads a message without its descriptors.
pub(super) fn read_entries(bytes: &[u8]) -> Vec<LotEntry> {
    let words = bytes.chunks_exact(ENTRY);
    words
        .filter_map(|word| Some(LotEntry::read(word.try_into().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_sent() {
        for kind in Kind::ALL {
            for (index, generation) in [(0, 0), (1, 2), (u32::MAX >> 2, u32::MAX)] {
                let entry = LotEntry {
                    kind,
                    index,
                    generation,
                };
                assert_eq!(
                    entries(&entry.bytes(), entry.descriptors()),
                    Some(vec![entry])
                );
            }
        }
    }

    #[test]
    fn a_message_that_does_not_fit_its_descriptors_is_ignored() {
        let pair = LotEntry {
            kind: Kind::Pair,
            ..LotEntry::STRAY
        };
        let both = [pair.bytes(), LotEntry::STRAY.bytes()].concat();
        assert_eq!(entries(&both, 3), Some(vec![pair, LotEntry::STRAY]));
        assert_eq!(entries(&both, 2), None);
        assert_eq!(entries(&both[..15], 3), None);
        assert_eq!(entries(&[], 0), Some(vec![]));
    }
}
