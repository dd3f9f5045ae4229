//! Ending everything that an earlier process has left.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SocketType, sockopt};

use super::lots;
use crate::service::ending;

/// Resets all connections whose sockets are parked in any of these, and how many it were. What is no lot
/// is closed.
pub(super) fn reset_all(stored: &[OwnedFd]) -> usize {
    let is_lot = |socket: &&OwnedFd| sockopt::socket_type(socket) == Ok(SocketType::SEQPACKET);
    let mut count = 0;
    for lot in stored.iter().filter(is_lot) {
        while let Ok(Some(descriptors)) = lots::take(lot.as_fd()) {
            for socket in descriptors
                .iter()
                .filter(|socket| is_connected(socket.as_fd()))
            {
                ending::end_by_reset(socket);
                count += 1;
            }
        }
    }
    count
}

fn is_connected(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::STREAM)
        && rustix::net::getpeername(socket).is_ok()
}
