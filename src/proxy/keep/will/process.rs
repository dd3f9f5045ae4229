//! The processes that the will is about, as descriptors: pidfd_open(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, waitid};

use crate::proxy::keep::error::KeepError;
use crate::service::kernel::poll_now;

pub(super) fn has_ended(process: BorrowedFd<'_>) -> bool {
    poll_now(process, PollFlags::IN).is_ok_and(|flags| !flags.is_empty())
}

/// Waits for the end of a process, which is 1. Allocates nothing.
pub(super) fn wait(process: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    retry_on_intr(|| poll(&mut fds, None))
}

/// Waits for the end of the child, and collects it, unless it is a sibling because it may become the heir.
pub(super) fn collect(child: BorrowedFd<'_>) {
    let _ = wait(child);
    let _ = collect_ended(child);
}

/// Collects a child that has ended: waitid(2).
fn collect_ended(child: BorrowedFd<'_>) -> Result<(), Errno> {
    let any_child = WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | any_child;
    waitid(WaitId::PidFd(child), options).map(drop)
}

/// Whether the kernel has what the will needs: pidfd_open(2) is of Linux 5.3, `P_PIDFD` of 5.4.
/// Fails with [`KeepError::Kernel`] if it has not, and for no other reason, which may be gone another time.
pub fn is_possible() -> Result<(), KeepError> {
    match this().map(|this| collect_ended(this.as_fd())) {
        Err(Errno::NOSYS) => Err(KeepError::Kernel("pidfd_open(2)")),
        // Not to be confused with ECHILD: no process is a child of its own.
        Ok(Err(Errno::NOSYS | Errno::INVAL)) => Err(KeepError::Kernel("P_PIDFD of waitid(2)")),
        _ => Ok(()),
    }
}

pub(super) fn this() -> Result<OwnedFd, Errno> {
    pidfd_open(getpid(), PidfdFlags::empty())
}
