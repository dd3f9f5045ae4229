//! What has to be known of the request under way until its reply is complete.

/// What has to be known of the request under way until its reply is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Its method is idempotent.
    pub is_idempotent: bool,
    /// It is `HEAD`: its reply has no body, whatever that announces.
    pub is_head: bool,
    /// It is of HTTP/1.0.
    pub is_old: bool,
    /// It or its reply is the last one of the connection.
    pub closes: bool,
}

const IDEMPOTENT: u8 = 1;
const HEAD: u8 = 2;
const OLD: u8 = 4;
const CLOSES: u8 = 8;

impl RequestFacts {
    /// As bits of a word.
    pub(super) fn bits(self) -> u8 {
        let bit = |fact, bit| if fact { bit } else { 0 };
        bit(self.is_idempotent, IDEMPOTENT)
            | bit(self.is_head, HEAD)
            | bit(self.is_old, OLD)
            | bit(self.closes, CLOSES)
    }

    /// Those with these bits; `None` if there is another bit.
    pub(super) fn of(bits: u8) -> Option<Self> {
        let facts = Self {
            is_idempotent: bits & IDEMPOTENT != 0,
            is_head: bits & HEAD != 0,
            is_old: bits & OLD != 0,
            closes: bits & CLOSES != 0,
        };
        (facts.bits() == bits).then_some(facts)
    }
}
