//! How many descriptors may be in the lots (pure).
//!
//! The kernel counts the descriptors that a user has sent and no process has received, and refuses a
//! message when there are more of them than a process may have open: `ETOOMANYREFS`, unix(7). Of these,
//! some are for the will, which has to send what was not parked; some for the additional message while a
//! lot is recycled; and some for what has ended and was not thrown away yet. The rest is for connections
//! and pipes.

use crate::proxy::keep::table::layout::PIPES;
use crate::service::rights::DESCRIPTORS_MAX;

/// For the will, and for what this user has in flight elsewhere.
const RESERVE: u64 = 600;

/// Of few descriptors, the reserve is this part at most, and a message half of that.
const RESERVE_PART: u64 = 8;

/// This part of the lots is for what has ended: the less it is, the more often they are recycled.
const DEAD_PART: u64 = 32;

/// This part is for pipes if connections need everything.
const PIPES_PART: u64 = 128;

/// How the descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Descriptors in the lots when something is parked.
    pub parked: usize,
    /// Descriptors in a message that is sent while recycling, in addition.
    pub message: usize,
    pub connections: u32,
    pub pipes: u32,
}

impl Budget {
    /// Divides `limit` descriptors, of which `connections` connections are to get theirs.
    pub fn new(limit: u64, connections: u32) -> Self {
        let limit = limit.min(u32::MAX.into());
        let reserve = RESERVE.min(limit / RESERVE_PART);
        let message = (limit / RESERVE_PART / 2).clamp(2, DESCRIPTORS_MAX as u64);
        let parked = limit.saturating_sub(reserve + message);
        let lasting = parked - parked / DEAD_PART;
        let pairs = lasting / 2;
        let left_over = pairs.saturating_sub(connections.into());
        let pipes = left_over.max(lasting / PIPES_PART).min(PIPES as u64);
        Self {
            parked: parked as usize,
            message: message as usize,
            connections: pairs.saturating_sub(pipes).min(connections.into()) as u32,
            pipes: pipes as u32,
        }
    }

    /// With this process's present limit.
    pub fn of_process(connections: u32) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self::new(limit.current.unwrap_or(u64::MAX), connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_enough_of_them_connections_and_pipes_get_all_they_want() {
        for limit in [131_072, u64::MAX] {
            let budget = Budget::new(limit, 16_384);
            assert_eq!((budget.connections, budget.pipes), (16_384, PIPES as u32));
        }
    }

    #[test]
    fn twenty_thousand_are_enough_for_nine_thousand_connections() {
        let budget = Budget::new(20_000, 16_384);
        assert_eq!((budget.connections, budget.pipes), (9130, 144));
        assert_eq!(Budget::new(20_000, 9000).connections, 9000);
        assert_eq!(Budget::new(1024, 16_384).connections, 397);
        assert_eq!(Budget::new(0, 16_384).connections, 0);
    }

    proptest! {
        #[test]
        fn no_more_are_given_than_there_are(limit in 0u64..200_000, asked in 0u32..100_000) {
            let budget = Budget::new(limit, asked);
            prop_assert!(budget.connections <= asked);
            let lasting = 2 * (budget.connections + budget.pipes) as usize;
            prop_assert!(lasting <= budget.parked);
            prop_assert!(lasting + budget.parked / 32 <= budget.parked);
            let reserve = RESERVE.min(limit / RESERVE_PART) as usize;
            prop_assert!(limit < 3 || budget.parked + budget.message + reserve <= limit as usize);
        }
    }
}
