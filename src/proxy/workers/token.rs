//! The tokens by which epoll(7) reports the descriptors of a thread.

/// The token of the first listener; the others have the next ones.
pub(super) const DOORS: u64 = 1 << 63;

/// The token of the inbox.
pub(super) const INBOX: u64 = u64::MAX;
/// The token of the handover, which is readable when connections that were handed over have ended.
pub(super) const ENDS: u64 = INBOX - 1;
/// The token of the socket that clients are handed over to, while it has no room.
pub(super) const ROOM: u64 = INBOX - 2;

/// The client's side of a connection, in the lowest bit.
pub(super) const CLIENT: u64 = 0;
/// The upstream's side of a connection.
pub(super) const UPSTREAM: u64 = 1;
/// How many connections a key can have before one of them has the token of an earlier one.
pub(super) const GENERATIONS: u32 = 1 << 30;

/// The token of a connection: below [`DOORS`]; its lowest bit is the side.
pub(super) fn token(key: usize, generation: u32) -> u64 {
    u64::from(generation) << 33 | (key as u64 & 0xffff_ffff) << 1
}

/// The arguments of [`token`].
pub(super) fn key_and_generation(token: u64) -> (usize, u32) {
    (
        (token >> 1 & 0xffff_ffff) as usize,
        (token >> 33) as u32 & (GENERATIONS - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_of() {
        for (key, generation) in [(0, 0), (7, 1), (0xffff_ffff, GENERATIONS - 1)] {
            let token = token(key, generation);
            for side in [CLIENT, UPSTREAM] {
                assert_eq!(key_and_generation(token | side), (key, generation));
                assert!(token | side < DOORS);
            }
        }
    }
}
