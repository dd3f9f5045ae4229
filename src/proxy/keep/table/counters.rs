//! What the kernel's counters of a TCP socket mean (pure).
//!
//! Measured on Linux 6.18, and read in net/ipv4 (`tcp_rcv_nxt_update`, `tcp_snd_una_update`,
//! `tcp_inq`, `tcp_ioctl`): the peer's end counts as a byte that was received, and is not among those
//! that can be read; our own counts as one that waits or is acknowledged; the side that has opened the
//! connection has one byte more acknowledged, its SYN.

use super::account::Unclear;
use crate::service::kernel::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    TCP_LAST_ACK, TcpCounters,
};

/// The side that has opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The peer has: the socket was accepted.
    Peer,
    /// We have: it was connected.
    Us,
}

/// Bytes that were received from the socket, of which `recorded` are written down: it may be more, if a
/// receive was under way. `None` if that is not known. `may_have_ended`: we have shut down our side, and no
/// reset was reported; then both sides may have ended the connection.
pub fn received(counters: &TcpCounters, recorded: u64, may_have_ended: bool) -> Option<u64> {
    if counters.urgent {
        // It is not known how much waits behind it.
        return None;
    }
    let bytes = counters.received.checked_sub(counters.readable)?;
    let without_end = bytes.checked_sub(1);
    match counters.state {
        TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => Some(bytes),
        TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => without_end,
        // If the peer's end were in the count, it would be more than what is written down.
        TCP_CLOSE if bytes == recorded => Some(bytes),
        // A reset that was not reported: it may have come before the end, or after it.
        TCP_CLOSE if counters.broken => None,
        // A reset that was reported to the receive that was under way has come when everything had been
        // received, which is the case above.
        TCP_CLOSE if may_have_ended => without_end,
        _ => None,
    }
}

/// Bytes that were sent to the socket; `None` if that is not known.
pub fn sent(counters: &TcpCounters, opener: Opener) -> Option<u64> {
    if is_over(counters) && !has_ended(counters) {
        return None;
    }
    let beginning = u64::from(opener == Opener::Us);
    let end = u64::from(has_ended(counters));
    (counters.acknowledged + counters.unacknowledged).checked_sub(beginning + end)
}

/// The part of a count that came after `base`.
pub fn since(base: u64, count: Option<u64>) -> Result<Option<u64>, Unclear> {
    let part = count.map(|count| count.checked_sub(base).ok_or(Unclear::Contradiction));
    part.transpose()
}

/// Whether nothing can be sent any more: the end was sent, or the socket was reset.
pub fn is_over(counters: &TcpCounters) -> bool {
    !matches!(counters.state, TCP_ESTABLISHED | TCP_CLOSE_WAIT)
}

/// Whether our end was sent: then nothing can be sent any more, and nothing has to be.
pub fn has_ended(counters: &TcpCounters) -> bool {
    matches!(
        counters.state,
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING
    )
}

/// Whether the socket was reset and that was reported, which happens once: `received` bytes were received
/// from it, there is no end in the count, and no error is left. If the count is not known (`None`), an end
/// behind which the socket was closed cannot be distinguished from a reset, and counts as one.
pub fn reset_was_reported(counters: &TcpCounters, received: Option<u64>) -> bool {
    counters.state == TCP_CLOSE
        && !counters.broken
        && received.is_none_or(|received| {
            counters.received.checked_sub(counters.readable) == Some(received)
        })
}

#[cfg(test)]
mod tests;
