//! Which connections to an earlier target can end when all places are taken. Pure.
//!
//! A target that leads back through another proxy takes all places: each connection is the client of the
//! next one. They can be recognised: the target has never answered, and each has carried the same bytes,
//! which come from a single client.

use std::collections::HashMap;

/// Bytes from the client of a connection, and bytes to it.
pub type CarriedBytes = (u64, u64);

/// Connections without an answer that can end: those that have carried nothing, and those that have carried
/// the same number of bytes if they take half of all places.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Connections by the bytes that they have carried.
    alike: HashMap<u64, usize>,
    half: usize,
}

impl Unanswered {
    /// Of these connections to earlier targets; `most` connections may be open.
    pub(super) fn of(connections: impl Iterator<Item = CarriedBytes>, most: usize) -> Self {
        let mut alike = HashMap::new();
        for (received, _) in connections.filter(|(_, sent)| *sent == 0) {
            *alike.entry(received).or_insert(0) += 1;
        }
        Self {
            alike,
            half: most.div_ceil(2),
        }
    }

    pub(super) fn contains(&self, (received, sent): CarriedBytes) -> bool {
        let alike = self.alike.get(&received).copied().unwrap_or(0);
        sent == 0 && (received == 0 || alike >= self.half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(connections: &[CarriedBytes], most: usize) -> Vec<CarriedBytes> {
        let unanswered = Unanswered::of(connections.iter().copied(), most);
        let all = connections.iter().copied();
        all.filter(|carried| unanswered.contains(*carried))
            .collect()
    }

    #[test]
    fn what_goes_round_is_given_up_and_what_was_answered_is_not() {
        let loops = [(18, 0); 6];
        let mut connections = vec![(18, 100), (40, 0), (0, 0)];
        connections.extend(loops);
        let mut expected = vec![(0, 0)];
        expected.extend(loops);
        assert_eq!(selection(&connections, 9), expected);
    }

    #[test]
    fn a_few_that_wait_for_an_answer_stay() {
        assert_eq!(selection(&[(18, 0), (18, 0), (7, 0), (9, 9)], 8), []);
    }
}
