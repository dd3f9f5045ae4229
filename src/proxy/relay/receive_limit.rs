//! How far a direction may pass bytes on before it has to look at what comes next (pure).

/// How far a direction may pass bytes on. Without limit where requests are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveLimit {
    /// The position of the stream up to which bytes may pass.
    until: u64,
    /// Bytes up to there that are still to be received.
    left: u64,
    /// Bytes behind it that were received already. If there are any, none are left.
    held: u32,
    /// Bytes that the last look has found in the socket; 0 if it has found as many as it could, so that there may be
    /// more, or has received them.
    found: u32,
}

const NO_LIMIT: u64 = u64::MAX;

impl Default for ReceiveLimit {
    fn default() -> Self {
        Self {
            until: NO_LIMIT,
            left: NO_LIMIT,
            held: 0,
            found: 0,
        }
    }
}

impl ReceiveLimit {
    /// Nothing may pass before a look, and these bytes were received already.
    pub(super) fn holding(bytes: usize) -> Self {
        Self {
            until: 0,
            left: 0,
            held: number(bytes as u64),
            found: 0,
        }
    }

    /// The stream was received up to `position`, and bytes may pass up to `until`.
    pub(super) fn restored(position: u64, until: u64) -> Self {
        let held = position.saturating_sub(until);
        Self {
            until,
            left: match until {
                NO_LIMIT => NO_LIMIT,
                _ => until.saturating_sub(position),
            },
            held: number(held),
            found: 0,
        }
    }

    /// Whether nothing more may be received without a look.
    pub(super) fn is_reached(&self) -> bool {
        self.left == 0
    }

    /// The bytes that are still to be received; `u64::MAX` without limit.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The bytes that were received and may not pass yet.
    pub(super) fn held(&self) -> usize {
        self.held as usize
    }

    /// Of `most` bytes, those that may be received now.
    pub(super) fn of(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }

    /// Whether these bytes are all that the last look has found.
    pub(super) fn is_all(&self, bytes: usize) -> bool {
        bytes == self.found as usize
    }

    /// Bytes up to this position may pass, `u64::MAX` for all. The look has found `found` bytes in the socket, or 0.
    pub(super) fn extend(&mut self, until: u64, found: usize) {
        match until {
            NO_LIMIT => (self.left, self.held) = (NO_LIMIT, 0),
            _ => {
                let more = until.saturating_sub(self.until);
                let held = self.held.min(number(more));
                self.held -= held;
                self.left = self.left.saturating_add(more - u64::from(held));
            }
        }
        self.until = until;
        self.found = number(found as u64);
    }

    /// These bytes were received within the limit.
    pub(super) fn received(&mut self, bytes: usize) {
        self.found = 0;
        if self.left != NO_LIMIT {
            debug_assert!(bytes as u64 <= self.left);
            self.left = self.left.saturating_sub(bytes as u64);
        }
    }

    /// These bytes were received behind the limit.
    pub(super) fn hold(&mut self, bytes: usize) {
        debug_assert!(self.is_reached());
        self.held += number(bytes as u64);
    }
}

/// A number of bytes that are in a buffer or could be.
fn number(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_looks_everything_may_pass() {
        let mut limit = ReceiveLimit::default();
        limit.received(usize::MAX);
        assert!(!limit.is_reached());
        assert_eq!((limit.of(7), limit.held()), (7, 0));
    }

    #[test]
    fn no_more_is_received_than_the_looks_allow() {
        let mut limit = ReceiveLimit::restored(10, 10);
        assert!(limit.is_reached());
        limit.extend(15, 9);
        assert_eq!((limit.of(100), limit.left()), (5, 5));
        limit.received(3);
        assert_eq!(limit.of(100), 2);
        limit.extend(20, 0);
        assert_eq!(limit.of(100), 7);
        limit.extend(NO_LIMIT, 0);
        assert_eq!(limit.of(100), 100);
        limit.received(50);
        assert!(!limit.is_reached());
    }

    #[test]
    fn what_a_look_has_found_is_all_only_for_the_next_receive() {
        let mut limit = ReceiveLimit::holding(0);
        limit.extend(5, 5);
        assert!(limit.is_all(5) && !limit.is_all(4));
        limit.received(4);
        assert!(!limit.is_all(1), "more may have come since");
        limit.extend(5, 0);
        assert!(!limit.is_all(5), "more may have waited");
    }

    #[test]
    fn what_was_received_before_a_look_is_held_until_one_lets_it_pass() {
        let mut limit = ReceiveLimit::holding(0);
        limit.hold(10);
        assert_eq!((limit.held(), limit.left()), (10, 0));
        limit.extend(4, 0);
        assert_eq!((limit.held(), limit.left()), (6, 0));
        limit.hold(2);
        limit.extend(20, 0);
        assert_eq!((limit.held(), limit.left()), (0, 8), "the rest of a body");
        limit.received(8);
        limit.hold(3);
        limit.extend(NO_LIMIT, 0);
        assert_eq!((limit.held(), limit.left()), (0, NO_LIMIT));
    }

    #[test]
    fn another_process_holds_and_passes_the_same() {
        for (position, until, held, left) in [(5, 5, 0, 0), (9, 5, 4, 0), (5, 9, 0, 4)] {
            let limit = ReceiveLimit::restored(position, until);
            assert_eq!((limit.held(), limit.left()), (held, left));
        }
        assert_eq!(
            ReceiveLimit::restored(7, NO_LIMIT).of(100),
            100,
            "without limit"
        );
    }
}
