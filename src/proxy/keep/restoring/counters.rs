//! What the kernel's counters of a TCP socket mean (pure).
//!
//! Measured on Linux 6.18, and read in net/ipv4 (`tcp_rcv_nxt_update`, `tcp_snd_una_update`,
//! `tcp_inq`, `tcp_ioctl`): the peer's end counts as a byte that was received, and is not among those
//! that can be read; our own counts as one that waits or is acknowledged; whoever has opened the
//! connection has one byte more acknowledged, its SYN.

use crate::proxy::keep::table::account::Total;
use crate::service::kernel::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    TCP_LAST_ACK, TcpCounters,
};

/// Who has opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// The peer has: the socket was accepted.
    Peer,
    /// We have: it was connected.
    Us,
}

/// How many bytes were received from the socket, if so many are written down: it may be more, if a
/// receive was under way. `may_have_ended`: we have shut down our side, and nobody was told of a reset;
/// then both sides may have ended the connection.
pub(super) fn received(counters: &TcpCounters, recorded: u64, may_have_ended: bool) -> Total {
    if counters.urgent {
        // How much waits behind it nobody tells.
        return Total::Unknown;
    }
    let Some(bytes) = counters.received.checked_sub(counters.readable) else {
        return Total::Unknown;
    };
    let with_end = bytes.checked_sub(1).map_or(Total::Unknown, Total::Exactly);
    match counters.state {
        TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => Total::Exactly(bytes),
        TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => with_end,
        // If the peer's end were in the count, it would be more than what is written down.
        TCP_CLOSE if bytes == recorded => Total::Exactly(bytes),
        // A reset that nobody has been told of: it may have come before the end, or after it.
        TCP_CLOSE if counters.broken => Total::Unknown,
        // A reset of which the receive was told that was under way has come when everything had been
        // received, which is the case above.
        TCP_CLOSE if may_have_ended => with_end,
        _ => Total::Unknown,
    }
}

/// How many bytes were sent to the socket.
pub(super) fn sent(counters: &TcpCounters, opened: Opener) -> Total {
    let beginning = u64::from(opened == Opener::Us);
    let end = match counters.state {
        TCP_ESTABLISHED | TCP_CLOSE_WAIT => 0,
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING => 1,
        _ => return Total::Unknown,
    };
    (counters.acknowledged + counters.unacknowledged)
        .checked_sub(beginning + end)
        .map_or(Total::Unknown, Total::Exactly)
}

/// Whether nothing can be sent any more: the end was sent, or it was reset.
pub(super) fn is_over(counters: &TcpCounters) -> bool {
    !matches!(counters.state, TCP_ESTABLISHED | TCP_CLOSE_WAIT)
}

/// Whether our end was sent, or everything was ended in order: then nothing can be sent any more, and
/// nothing has to be.
pub(super) fn has_ended(counters: &TcpCounters) -> bool {
    matches!(
        counters.state,
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING
    )
}

/// Whether the socket was reset and a process was told, which happens once: `received` bytes were received
/// from it, there is no end in the count, and no error is left. Where the count is not known, an end behind
/// which the socket was closed cannot be told from a reset, and is taken for one.
pub(super) fn was_told_of_reset(counters: &TcpCounters, received: Total) -> bool {
    let is_reset = match received {
        Total::Exactly(bytes) => counters.received.checked_sub(counters.readable) == Some(bytes),
        Total::Unknown => true,
    };
    counters.state == TCP_CLOSE && !counters.broken && is_reset
}

#[cfg(test)]
mod tests;
