//! How long drains have taken.

use std::sync::Mutex;
use std::time::Duration;

use crate::interface::metrics::DrainLengths;
use crate::service::clock::micros;
use crate::service::mutex;

/// The longest drain of each class but the last, in milliseconds.
const BOUNDS: [u64; 9] = [
    100, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// The drains that were completed since the process began.
#[derive(Debug, Default)]
pub struct Drains(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    classes: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Drains {
    /// Counts one that took so long.
    pub fn add(&self, length: Duration) {
        let class = BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < length);
        let mut counts = mutex::lock(&self.0);
        counts.classes[class] += 1;
        counts.sum = counts.sum.saturating_add(length);
    }

    pub fn lengths(&self) -> DrainLengths {
        let counts = mutex::lock(&self.0);
        DrainLengths {
            bounds_usec: BOUNDS.iter().map(|bound| bound * 1_000).collect(),
            counts: counts.classes.to_vec(),
            sum_usec: micros(counts.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drain_is_in_one_class_and_a_bound_belongs_to_the_shorter_one() {
        let drains = Drains::default();
        for milliseconds in [0, 100, 101, 1_000, 3_600_000, 3_600_001, 9_999_999] {
            drains.add(Duration::from_millis(milliseconds));
        }
        let lengths = drains.lengths();
        assert_eq!(lengths.counts, [2, 2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(lengths.bounds_usec.len() + 1, lengths.counts.len());
        assert!(lengths.bounds_usec.is_sorted());
        assert_eq!(lengths.sum_usec, 17_201_201_000);
    }
}
