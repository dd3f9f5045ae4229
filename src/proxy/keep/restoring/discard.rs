//! Ending everything that an earlier process has left.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SocketType, sockopt};

use crate::proxy::keep::parking::queue;
use crate::proxy::keep::store;
use crate::proxy::keep::will::{is_connected_stream, open_numbers, reset_left_open};
use crate::service::ending;

/// Ends everything that an earlier process has left, also to its heir: for a process that does not keep
/// connections. Returns the number of sockets that were reset.
pub fn discard(stored: Vec<OwnedFd>, is_heir: bool) -> usize {
    let left_open = match is_heir {
        true => reset_left_open(open_numbers()),
        false => 0,
    };
    if stored.is_empty() {
        return left_open;
    }
    let count = reset_all(&stored);
    if let Err(error) = store::remove() {
        // The next process finds the store, and that there is nothing in the lots.
        tracing::debug!(ERROR = %error, "the store cannot be cleared: {error}");
    }
    left_open + count
}

/// Resets all connections whose sockets are parked in any of these, of which some may be no lot. Returns
/// the number of sockets.
pub fn reset_all(stored: &[OwnedFd]) -> usize {
    let is_lot = |socket: &&OwnedFd| sockopt::socket_type(socket) == Ok(SocketType::SEQPACKET);
    let mut count = 0;
    for lot in stored.iter().filter(is_lot) {
        while let Some(descriptors) = queue::take(lot.as_fd()) {
            for socket in descriptors {
                if is_connected_stream(socket.as_fd()) {
                    ending::end_by_reset(&socket);
                    count += 1;
                }
            }
        }
    }
    count
}
