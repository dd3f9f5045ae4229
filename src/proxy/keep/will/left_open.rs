//! What the will could not send and has left open for its heir.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::sockets::is_connected_stream;
use crate::service::ending;

/// What systemd hands over begins here, sd_listen_fds(3).
pub(super) const FIRST: RawFd = 3;

/// A client or an upstream that the will could not send and has left open for its heir, at this number,
/// which is written down. Once taken, it is no more found.
pub fn left_open(number: u32) -> Option<OwnedFd> {
    let number = RawFd::try_from(number).ok()?;
    // SAFETY: a number that is not open does no harm. Whatever this process has opened is closed at an
    // execve(2), so what is not was open before it began, and no such socket was handed to it otherwise.
    unsafe {
        let is_left = number >= FIRST
            && libc::fcntl(number, libc::F_GETFD) == 0
            && is_connected_stream(number);
        if !is_left || libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return None;
        }
        Some(OwnedFd::from_raw_fd(number))
    }
}

/// Ends what the will has left open at any of these numbers, if this process cannot go on with it; how
/// many it were.
pub fn reset_left_open(numbers: Vec<u32>) -> usize {
    let left: Vec<OwnedFd> = numbers.into_iter().filter_map(left_open).collect();
    left.iter().for_each(ending::end_by_reset);
    left.len()
}

/// The numbers of all descriptors that are open.
pub fn open_numbers() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
