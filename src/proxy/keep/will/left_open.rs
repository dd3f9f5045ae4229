//! What the will could not send and has left open for its heir.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::descriptors::is_connected_stream;
use crate::service::activation::FIRST;
use crate::service::ending;

/// A client or an upstream that the will could not send and has left open for its heir, at this number,
/// which is in the table. It is found once.
pub fn left_open(number: u32) -> Option<OwnedFd> {
    let number = RawFd::try_from(number).ok()?;
    if number < FIRST {
        return None;
    }
    // SAFETY: the kernel finds out if it is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let is_left = fcntl_getfd(socket) == Ok(FdFlags::empty()) && is_connected_stream(socket);
    if !is_left || fcntl_setfd(socket, FdFlags::CLOEXEC).is_err() {
        return None;
    }
    // SAFETY: it is open. Whatever this process has opened is closed at an execve(2), so what is not was
    // open before it began, and no such socket was passed to it otherwise.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Resets what the will has left open at any of these numbers, if this process cannot continue it. Returns
/// the number of sockets.
pub fn reset_left_open(numbers: Vec<u32>) -> usize {
    let left: Vec<OwnedFd> = numbers.into_iter().filter_map(left_open).collect();
    left.iter().for_each(ending::end_by_reset);
    left.len()
}

/// The numbers of all open descriptors.
pub fn open_numbers() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
