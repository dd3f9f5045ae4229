//! The processes that the will is about, as the kernel tells of them: pidfd_open(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::proxy::keep::error::KeepError;

/// Whether a process has ended.
pub(super) fn has_ended(process: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits for the end of the child, which is somebody else's if it may become the heir.
pub(super) fn wait(child: BorrowedFd<'_>) {
    let mut fds = [PollFd::from_borrowed_fd(child, PollFlags::IN)];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
    let _ = collect(child);
}

/// Collects a child that has ended: waitid(2).
fn collect(child: BorrowedFd<'_>) -> io::Result<()> {
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: waitid(2) may be told not to say anything about the child.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            child.as_raw_fd(),
            std::ptr::null_mut::<libc::siginfo_t>(),
            options,
            std::ptr::null_mut::<libc::rusage>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the kernel has what the will needs: pidfd_open(2) is of Linux 5.3, `P_PIDFD` of 5.4.
///
/// # Errors
///
/// [`KeepError::Kernel`] when it has not. What may go better another time is no such error.
pub fn is_possible() -> Result<(), KeepError> {
    let this = match this() {
        Ok(this) => this,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            return Err(KeepError::Kernel("pidfd_open(2)"));
        }
        Err(_) => return Ok(()),
    };
    let answer = collect(this.as_fd()).map_err(|error| error.raw_os_error());
    match answer {
        // Not to be confused with ECHILD: no process is a child of its own.
        Err(Some(libc::ENOSYS | libc::EINVAL)) => Err(KeepError::Kernel("P_PIDFD of waitid(2)")),
        _ => Ok(()),
    }
}

/// This process.
pub(super) fn this() -> io::Result<OwnedFd> {
    let this = rustix::process::getpid();
    Ok(rustix::process::pidfd_open(
        this,
        rustix::process::PidfdFlags::empty(),
    )?)
}
