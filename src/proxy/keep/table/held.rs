//! A request that waits for the next upstream of its client.
//!
//! It was received from the client, and no upstream has answered it, so nothing but this process has it. Its bytes are in
//! a buffer, and one word says so: the first one of those that tell where the connection is in its requests
//! ([`Slot::requests`]). One store is the whole change, each way. While the word is there, nothing else that is written
//! down of the connection counts, but for its bases; so the rest can be written in any order.

use super::slot::Slot;

/// Distinguishes the word from all others that the caller writes there.
const MARK: u64 = 1 << 16;
const MARK_BITS: u64 = 0xff << 16;
const FOUR_BITS: u8 = 15;

/// A request in a buffer, for the next upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRequest {
    /// The buffer, at the start of which it is.
    pub buffer: u32,
    /// Its bytes.
    pub length: u16,
    /// How many upstreams did not answer it; at most 15 are written down.
    pub attempts: u8,
    /// How the caller has recognised it: a number of its own below 16. An older version has written 0.
    pub kind: u8,
}

impl HeldRequest {
    /// What is written down without a buffer. A process that finds it resets the client.
    pub const NO_BUFFER: u32 = u32::MAX;

    fn word(self) -> u64 {
        let attempts = u64::from(self.attempts.min(FOUR_BITS)) << 24;
        let kind = u64::from(self.kind & FOUR_BITS) << 28;
        u64::from(self.buffer) << 32 | kind | attempts | MARK | u64::from(self.length)
    }

    fn of(word: u64) -> Option<Self> {
        (word & MARK_BITS == MARK).then_some(Self {
            buffer: (word >> 32) as u32,
            length: word as u16,
            attempts: (word >> 24) as u8 & FOUR_BITS,
            kind: (word >> 28) as u8 & FOUR_BITS,
        })
    }
}

impl Slot {
    /// From now on the client's next upstream gets this request first. Of the one that it has, if any, nothing is
    /// expected any more. The buffer may be freed after [`Self::begin_repeated`] or when the slot is released.
    pub fn hold_request(self, held: HeldRequest) {
        self.request_words().set_first(held.word());
    }

    /// The request of [`Self::hold_request`].
    pub fn held_request(self) -> Option<HeldRequest> {
        HeldRequest::of(self.requests()[0])
    }

    /// The client is parked with its upstream, and the request is among our own bytes in front
    /// ([`Flow::prefix`](super::Flow::prefix)), of which nothing was sent yet: as many `bytes`. It is under way from now
    /// on, as `requests` say.
    pub fn begin_repeated(self, bytes: u64, requests: [u64; 3]) {
        self.set_repeated(bytes);
        let [first, others @ ..] = requests;
        self.request_words().set_others(others);
        self.request_words().set_first(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_is_read_as_it_was_written(buffer: u32, length: u16, attempts: u8, kind in 0..16u8) {
            let held = HeldRequest { buffer, length, attempts, kind };
            let attempts = attempts.min(15);
            let written = HeldRequest { attempts, ..held };
            prop_assert_eq!(HeldRequest::of(held.word()), Some(written));
        }
    }

    #[test]
    fn no_other_word_is_one() {
        for word in [0, Slot::DETACHED[0], u64::MAX - MARK, 2 << 16] {
            assert_eq!(HeldRequest::of(word), None);
        }
    }
}
