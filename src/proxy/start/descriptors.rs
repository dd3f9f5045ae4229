//! Dividing the descriptors between connections, pipes and everything else.

use crate::proxy::relay;
use crate::service::program;

/// Descriptors for everything else: logging, epoll, signals, listeners, control.
const RESERVED: u64 = 64;

/// Descriptors that serving needs at least: a client, its upstream and what looking up its name opens; a caller;
/// signals and timers.
pub const TO_SERVE: usize = 8;

/// The most pipes for each thread. A pipe is memory, and used only while a receiver of bulk is slow.
const PIPES_EACH: usize = 64;

/// The divisor for the part of scarce descriptors that pipes get at most.
const PIPES_PART: u64 = 32;

/// Raises the limit of descriptors, and divides them. Returns how many connections may be open: `asked`, or fewer if
/// descriptors are scarce.
pub fn share(asked: usize, threads: usize) -> usize {
    let descriptors = program::raise_descriptor_limit();
    let (connections, pipes) = shares(descriptors, asked, threads);
    relay::allow_pipes(pipes);
    connections
}

/// The number of connections and of pipes. Each needs two descriptors.
fn shares(descriptors: u64, asked: usize, threads: usize) -> (usize, usize) {
    let pairs = program::share_descriptors(descriptors, RESERVED, 2);
    let part = program::share_descriptors(descriptors, RESERVED, 2 * PIPES_PART);
    let wanted = PIPES_EACH.saturating_mul(threads);
    let left_over = pairs.saturating_sub(asked);
    let pipes = wanted.min(left_over.max(part));
    let connections = asked.min(pairs - pipes).max(1);
    (connections, pipes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn enough_descriptors_are_enough_for_connections_and_pipes() {
        assert_eq!(shares(131_072, 16_384, 4), (16_384, 256));
        assert_eq!(shares(u64::MAX, 16_384, 2), (16_384, 128));
    }

    #[test]
    fn scarce_ones_are_for_connections() {
        assert_eq!(shares(1024, 16_384, 2), (465, 15));
        assert_eq!(shares(0, 16_384, 2), (1, 0));
    }

    proptest! {
        #[test]
        fn no_more_are_given_than_there_are(
            descriptors in 66u64..200_000,
            asked in 1usize..20_000,
            threads in 1usize..256,
        ) {
            let (connections, pipes) = shares(descriptors, asked, threads);
            prop_assert!((1..=asked).contains(&connections));
            prop_assert!(2 * (connections + pipes) as u64 + RESERVED <= descriptors);
        }
    }
}
