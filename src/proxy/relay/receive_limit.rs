//! How far a direction may receive before it has to look at what waits (pure).

/// How far a direction may receive. Without limit where requests are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveLimit {
    /// The position of the stream that may be received up to.
    until: u64,
    /// Bytes that are left up to there.
    left: u64,
    /// Bytes that the last look has found; 0 if it has found as many as it could, so that there may be more.
    found: usize,
}

const NO_LIMIT: u64 = u64::MAX;

impl Default for ReceiveLimit {
    fn default() -> Self {
        Self {
            until: NO_LIMIT,
            left: NO_LIMIT,
            found: 0,
        }
    }
}

impl ReceiveLimit {
    /// Nothing may be received before a look at `position`.
    pub(super) fn at(position: u64) -> Self {
        Self {
            until: position,
            left: 0,
            found: 0,
        }
    }

    /// Whether a look is needed now.
    pub(super) fn is_reached(&self) -> bool {
        self.left == 0
    }

    /// The bytes that are left; `u64::MAX` without limit.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Of `most` bytes, those that may be received now.
    pub(super) fn of(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }

    /// Whether these bytes are all that the last look has found.
    pub(super) fn is_all(&self, bytes: usize) -> bool {
        bytes == self.found
    }

    /// Bytes up to this position may be received, `u64::MAX` for all. The look has found `found` bytes, or 0.
    pub(super) fn extend(&mut self, until: u64, found: usize) {
        self.left = match until {
            NO_LIMIT => NO_LIMIT,
            _ => self.left.saturating_add(until.saturating_sub(self.until)),
        };
        self.until = until;
        self.found = found;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.found = 0;
        if self.left != NO_LIMIT {
            debug_assert!(bytes as u64 <= self.left);
            self.left = self.left.saturating_sub(bytes as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_looks_everything_may_be_received() {
        let mut limit = ReceiveLimit::default();
        limit.received(usize::MAX);
        assert!(!limit.is_reached());
        assert_eq!(limit.of(7), 7);
    }

    #[test]
    fn no_more_is_received_than_the_looks_allow() {
        let mut limit = ReceiveLimit::at(10);
        assert!(limit.is_reached());
        limit.extend(15, 9);
        assert_eq!((limit.of(100), limit.left()), (5, 5));
        limit.received(3);
        assert_eq!(limit.of(100), 2);
        limit.extend(20, 0);
        assert_eq!(limit.of(100), 7);
        limit.extend(u64::MAX, 0);
        assert_eq!(limit.of(100), 100);
        limit.received(50);
        assert!(!limit.is_reached());
    }

    #[test]
    fn what_a_look_has_found_is_all_only_for_the_next_receive() {
        let mut limit = ReceiveLimit::at(0);
        limit.extend(5, 5);
        assert!(limit.is_all(5) && !limit.is_all(4));
        limit.received(4);
        assert!(!limit.is_all(1), "more may have come since");
        limit.extend(5, 0);
        assert!(!limit.is_all(5), "more may have waited");
    }
}
