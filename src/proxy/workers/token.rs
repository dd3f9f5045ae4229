//! What epoll(7) calls a descriptor of a thread.

/// The token of the first listener; those of the others follow.
pub(super) const DOORS: u64 = 1 << 63;

/// The token of the inbox.
pub(super) const INBOX: u64 = u64::MAX;
/// The token of the handover, which is readable when connections have ended.
pub(super) const ENDS: u64 = INBOX - 1;
/// The token of the socket that clients are handed over to, while it has no room.
pub(super) const ROOM: u64 = INBOX - 2;

/// The sides of a connection, in the lowest bit.
pub(super) const CLIENT: u64 = 0;
/// The other one.
pub(super) const UPSTREAM: u64 = 1;
/// How many connections a place has before one of them is taken for an earlier one.
pub(super) const GENERATIONS: u32 = 1 << 30;

/// The token of a connection: below [`DOORS`]; its lowest bit tells the side.
pub(super) fn token(key: usize, generation: u32) -> u64 {
    u64::from(generation) << 33 | (key as u64 & 0xffff_ffff) << 1
}

/// What [`token`] was made of.
pub(super) fn place(token: u64) -> (usize, u32) {
    (
        (token >> 1 & 0xffff_ffff) as usize,
        (token >> 33) as u32 & (GENERATIONS - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of_whatever_its_side() {
        for (key, generation) in [(0, 0), (7, 1), (0xffff_ffff, GENERATIONS - 1)] {
            let token = token(key, generation);
            for side in [CLIENT, UPSTREAM] {
                assert_eq!(place(token | side), (key, generation));
                assert!(token | side < DOORS);
            }
        }
    }
}
