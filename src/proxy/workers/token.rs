//! What epoll(7) calls a socket of a connection.

/// The sides of a connection, in the lowest bit.
pub(super) const CLIENT: u64 = 0;
/// The other one.
pub(super) const UPSTREAM: u64 = 1;
/// How many connections a place has before one of them is taken for an earlier one.
pub(super) const GENERATIONS: u32 = 1 << 30;

/// The token of a connection: below [`super::doors::DOORS`]; its lowest bit tells the side.
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
    use crate::proxy::workers::doors::DOORS;

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
