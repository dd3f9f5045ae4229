//! The signals that ask a program to end or to reload, and what a process inherits of the handling of signals.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// What tells a daemon to end, or to read its configuration again.
const OF_DAEMONS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

/// What would end a command from one moment to the next, as far as it is sent on purpose.
const OF_COMMANDS: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
];

/// Signals that are handled from the moment this exists.
pub struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Those of a daemon: SIGTERM, SIGINT and SIGHUP. Fails when the kernel refuses.
    pub fn new() -> io::Result<Self> {
        Self::handle(OF_DAEMONS.into_iter())
    }

    /// Those of a command: also SIGQUIT, SIGUSR1, SIGUSR2 and SIGALRM. All but SIGTERM stay ignored for it and the
    /// programs that it starts if they were ignored at its start: nohup(1) does that, and a shell for a command in the
    /// background. Fails when the kernel refuses.
    pub fn of_command() -> io::Result<Self> {
        let is_wanted = |signal: &Signal| *signal == Signal::TERM || !is_ignored(signal.as_raw());
        Self::handle(OF_COMMANDS.into_iter().filter(is_wanted))
    }

    fn handle(signals: impl Iterator<Item = Signal>) -> io::Result<Self> {
        let handle = |number: Signal| -> io::Result<(Signal, unix::Signal)> {
            let kind = SignalKind::from_raw(number.as_raw());
            Ok((number, signal(kind)?))
        };
        signals.map(handle).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (number, received) in &mut self.0 {
                if received.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
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
