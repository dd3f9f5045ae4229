//! The signals that ask a program to end or to reload, and what a process inherits of the handling of signals.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, handled from the moment this exists.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: Option<unix::Signal>,
    hangup: Option<unix::Signal>,
}

impl Signals {
    /// Those of a daemon. Fails when the kernel refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: Some(signal(SignalKind::interrupt())?),
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }

    /// Those of a command: SIGINT and SIGHUP stay ignored for it and the programs that it starts if they were
    /// ignored at its start: nohup(1) does that, and a shell for a command in the background. Fails when the kernel refuses.
    pub fn of_command() -> io::Result<Self> {
        let unless_ignored = |kind: SignalKind| match is_ignored(kind.as_raw_value()) {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            () = received(&mut self.interrupt) => Signal::INT,
            () = received(&mut self.hangup) => Signal::HUP,
        }
    }
}

async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => pending().await,
    }
}

/// Undoes what other programs may leave to those that they start: a blocked signal would never arrive, and while
/// SIGCHLD is ignored the exit status of a child is lost (wait(2)).
pub(super) fn accept_all() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is made before it is used; no handler is installed.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Makes a file that would be larger than this process may write (`RLIMIT_FSIZE`, setrlimit(2)) an error, not the end
/// of the process by a signal.
pub(crate) fn fail_beyond_the_size_limit() {
    // SAFETY: nothing here handles the signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn is_ignored(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action this only writes the present one, of which zeros are a valid value.
    unsafe {
        libc::sigaction(number, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
