//! Which connections to an earlier target can be given up when all places are taken. Pure.
//!
//! A target that leads back by way of another proxy takes all places: each connection is the next one's
//! client. What sets them apart is that the target has never answered, and that the same bytes have come on
//! each of them, for they are the words of one client that go round.

use std::collections::HashMap;

/// What a connection has carried: bytes from the client, bytes to it.
pub(super) type CarriedBytes = (u64, u64);

/// Decides which connections to earlier targets are given up: those on which nothing was said, and those that
/// have carried the same unanswered bytes if they take half of all places.
#[derive(Debug)]
pub(super) struct Unanswered {
    alike: HashMap<u64, usize>,
    half: usize,
}

impl Unanswered {
    /// Of these connections, where `most` may be open.
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

    /// Whether a connection that has carried this is given up.
    pub(super) fn contains(&self, (received, sent): CarriedBytes) -> bool {
        let alike = self.alike.get(&received).copied().unwrap_or(0);
        sent == 0 && (received == 0 || alike >= self.half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(connections: &[CarriedBytes], most: usize) -> Vec<CarriedBytes> {
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
        assert_eq!(given_up(&connections, 9), expected);
    }

    #[test]
    fn a_few_that_wait_for_an_answer_stay() {
        assert_eq!(given_up(&[(18, 0), (18, 0), (7, 0), (9, 9)], 8), []);
    }
}
