//! Where a slot says where the connection is in its requests.

use std::sync::atomic::{AtomicU64, Ordering::Release};

/// Where a slot says where the connection is in its requests. It is used as long as the slot is.
#[derive(Clone, Copy, Debug)]
pub struct RequestWords {
    raw: &'static [AtomicU64; 3],
}

impl RequestWords {
    pub(super) fn new(raw: &'static [AtomicU64; 3]) -> Self {
        Self { raw }
    }

    /// Writes one number after the other: a process that is killed in between leaves the first of the new ones and the
    /// last of those before.
    #[inline]
    pub fn set(self, words: [u64; 3]) {
        let [first, others @ ..] = words;
        self.set_first(first);
        self.set_others(others);
    }

    #[inline]
    pub(super) fn set_first(self, word: u64) {
        self.raw[0].store(word, Release);
    }

    #[inline]
    pub(super) fn set_others(self, words: [u64; 2]) {
        for (place, word) in self.raw[1..].iter().zip(words) {
            place.store(word, Release);
        }
    }
}
