//! Making the last will, and ending it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::duties::{Instructions, run};
use super::heir::Heir;
use super::process;
use crate::proxy::keep::table::Table;

/// The child.
#[derive(Debug)]
pub struct Will {
    child: OwnedFd,
    _parent: OwnedFd,
    has_heir: bool,
}

impl Will {
    /// Makes the child. It sends to `queue`, which has to stay open, and becomes the `heir`.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow one more process.
    pub fn make(
        table: &'static Table,
        queue: BorrowedFd<'_>,
        heir: Option<&'static Heir>,
    ) -> io::Result<Self> {
        let parent = process::this()?;
        let instructions = Instructions {
            parent: parent.as_raw_fd(),
            table,
            queue: queue.as_raw_fd(),
            heir,
        };
        let child = clone_with_files(&instructions)?;
        Ok(Self {
            child,
            _parent: parent,
            has_heir: heir.is_some(),
        })
    }

    /// Whether it may become the next process.
    pub fn has_heir(&self) -> bool {
        self.has_heir && !self.has_ended()
    }

    /// The child, as pidfd_open(2) would tell of it.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        process::has_ended(self.child.as_fd())
    }

    /// It is not wanted any more: ends the child, and waits until it has ended.
    pub fn dismiss(self) {
        let signal = rustix::process::Signal::KILL;
        let _ = rustix::process::pidfd_send_signal(&self.child, signal);
        process::wait(self.child.as_fd());
    }
}

/// Clones the process, descriptors shared and memory not, with all signals blocked. Returns in the
/// parent only.
fn clone_with_files(instructions: &Instructions) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_FILES | libc::CLONE_PIDFD;
    // A sibling, so that systemd has the main process for its child from the beginning.
    let flags = match instructions.heir {
        Some(_) => flags | libc::CLONE_PARENT,
        None => flags,
    };
    // SAFETY: the signal sets are ours. The child gets a copy of this stack, runs `run`, which makes
    // system calls only (see there), and ends without returning; other threads do not exist in it, and
    // nothing that they may have locked is touched. A child has no exit signal, so that nobody who waits
    // for other children sees it; a sibling has that of its parent.
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let pid = libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong,
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<libc::c_int>(),
            0 as libc::c_ulong,
        );
        if pid == 0 {
            libc::_exit(run(instructions));
        }
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        pid
    };
    debug_assert!(pid > 0);
    // SAFETY: the kernel has put a new descriptor there, which is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}
