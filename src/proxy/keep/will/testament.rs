//! The last will as a process: making it, and ending it. It is made once, and again when it has ended
//! before its time, which only a kill does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::duties::{Instructions, run};
use super::heir::Heir;
use super::process;
use crate::proxy::keep::table::Table;

/// The last will, if there is one, and what the next one is to become.
#[derive(Debug, Default)]
pub struct Testament {
    will: Option<Will>,
    heir: Option<&'static Heir>,
}

/// The child.
#[derive(Debug)]
struct Will {
    child: OwnedFd,
    _parent: OwnedFd,
    has_heir: bool,
}

impl Testament {
    /// Whether the will may become the next process.
    pub fn has_heir(&self) -> bool {
        let will = self.will.as_ref();
        will.is_some_and(|will| will.has_heir && !process::has_ended(will.child.as_fd()))
    }

    /// A will that is made from now on starts the next process when this one is killed.
    pub fn provide_heir(&mut self, heir: &'static Heir) {
        self.heir = Some(heir);
    }

    /// Makes the last will, if there is none, or if it has ended. It sends to `queue`, which has to stay
    /// open.
    /// Fails if the kernel does not allow one more process, or no descriptor is left.
    pub fn make_will(&mut self, table: &'static Table, queue: BorrowedFd<'_>) -> io::Result<()> {
        match &self.will {
            Some(will) if !process::has_ended(will.child.as_fd()) => return Ok(()),
            _ => self.dismiss_will(),
        }
        let parent = process::this()?;
        let child = clone_with_files(&Instructions {
            parent: parent.as_fd(),
            table,
            queue,
            heir: self.heir,
        })?;
        self.will = Some(Will {
            child,
            _parent: parent,
            has_heir: self.heir.is_some(),
        });
        Ok(())
    }

    /// A descriptor that becomes readable when the last will ends; `None` if there is none.
    /// Fails if no descriptor is left.
    pub fn end_of_will(&self) -> io::Result<Option<OwnedFd>> {
        let will = self.will.as_ref();
        will.map(|will| will.child.try_clone()).transpose()
    }

    /// Ends the last will, if there is one, and waits until it has ended.
    pub fn dismiss_will(&mut self) {
        if let Some(Will { child, .. }) = self.will.take() {
            let signal = rustix::process::Signal::KILL;
            let _ = rustix::process::pidfd_send_signal(&child, signal);
            process::collect(child.as_fd());
        }
    }
}

/// Clones the process, descriptors shared and memory not, with all signals blocked. Returns in the
/// parent only.
fn clone_with_files(instructions: &Instructions<'_>) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_FILES | libc::CLONE_PIDFD;
    // A sibling, so that systemd has the main process for its child from the beginning.
    let flags = match instructions.heir {
        Some(_) => flags | libc::CLONE_PARENT,
        None => flags,
    };
    // SAFETY: the signal sets are ours. The child gets a copy of this stack, runs `run`, which makes
    // system calls only (see there), and ends without returning; other threads do not exist in it, and
    // nothing that they may have locked is touched. A child has no exit signal, so that no code that waits
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
