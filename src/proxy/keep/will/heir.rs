//! The heir: the next process, which the last will starts in the place of one that was killed.
//!
//! systemd needs tens of milliseconds to build a sandbox and to start a program in it, and open
//! connections wait for that. The will is in that sandbox already: it executes the program itself and
//! notifies systemd that this is the main process now (`MAINPID=`, sd_notify(3)). The unit has to say
//! `ExitType=cgroup`, or else systemd ends what is left of a service whose main process has died, and
//! `NotifyAccess=all`, or else it ignores the will.
//!
//! What the will calls here allocates nothing: see [`super`].

use std::ffi::{CString, c_char};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::proxy::keep::store::NAME;
use crate::service::activation::{FIRST, Inherited};
use crate::service::notify::{self, Channel};

/// A process that has served for less has no heir, so that systemd decides what becomes of a service
/// that dies again and again.
const SERVED_AT_LEAST: Duration = Duration::from_millis(250);

/// systemd answers at once unless it is busy; connections wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// The most descriptors that can be passed.
const INHERITED_MAX: usize = 64;

/// In the environment of an heir: the number of the process that was killed.
const HEIR_OF: &str = "DISNIX_TCP_PROXY_HEIR_OF";

/// The variables that have the number of the process they are meant for.
const NUMBERS: [&str; 3] = ["LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// Room for the number of a process, and for the end of the text.
const NUMBER: &str = "           ";

/// The number of the process that this one replaces, if the last will has started it.
pub fn heir_of() -> Option<u32> {
    std::env::var(HEIR_OF).ok()?.parse().ok()
}

/// Everything that is needed to execute the program, prepared because the will cannot allocate.
#[derive(Debug)]
pub struct Heir {
    program: CString,
    /// Pointers to texts, with a null pointer at the end, as execve(2) wants them.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// Where in the environment the number of the process is written.
    numbers: Vec<*mut u8>,
    /// The descriptors that are passed.
    descriptors: Vec<RawFd>,
    /// Those of them that it owns.
    sockets: Vec<OwnedFd>,
    systemd: &'static Channel,
}

// SAFETY: texts that are never freed, and that only the will changes, in a copy of the memory that is its
// own; pointers to them; descriptors.
unsafe impl Send for Heir {}
// SAFETY: as above.
unsafe impl Sync for Heir {}

impl Heir {
    /// Of this process, with the sockets that systemd has passed to it and with what it keeps for it, all
    /// of which have to stay open. It is never freed: the will has it.
    /// Fails if something is missing: the program's path, or systemd's socket.
    pub fn new(sockets: Vec<Inherited>, stored: &[BorrowedFd<'_>]) -> io::Result<&'static Self> {
        let program = std::env::current_exe()?.into_os_string().into_vec();
        if sockets.len() + stored.len() > INHERITED_MAX {
            return Err(io::Error::other("there are too many sockets"));
        }
        let no_systemd = || io::Error::new(io::ErrorKind::NotFound, "NOTIFY_SOCKET is not set");
        let mut heir = Self {
            program: CString::new(program)?,
            arguments: Vec::new(),
            environment: Vec::new(),
            numbers: Vec::new(),
            descriptors: sockets.iter().map(|socket| socket.fd.as_raw_fd()).collect(),
            sockets: Vec::new(),
            systemd: notify::systemd()?.ok_or_else(no_systemd)?,
        };
        for argument in std::env::args_os() {
            heir.arguments.push(text(argument.into_vec())?);
        }
        heir.arguments.push(std::ptr::null());
        heir.descriptors
            .extend(stored.iter().map(AsRawFd::as_raw_fd));
        let names = sockets.iter().map(|socket| socket.name.as_str());
        let names: Vec<&str> = names.chain(stored.iter().map(|_| NAME)).collect();
        heir.inherit_environment(&names)?;
        heir.sockets = sockets.into_iter().map(|socket| socket.fd).collect();
        Ok(Box::leak(Box::new(heir)))
    }

    /// Takes this process's environment, except what is meant for one process only.
    fn inherit_environment(&mut self, names: &[&str]) -> io::Result<()> {
        let replaced = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", HEIR_OF];
        for (name, value) in std::env::vars_os() {
            if NUMBERS.iter().chain(&replaced).all(|other| name != *other) {
                let line = [name.as_bytes(), b"=", value.as_bytes()].concat();
                self.environment.push(text(line)?);
            }
        }
        for line in [
            format!("LISTEN_FDS={}", names.len()),
            format!("LISTEN_FDNAMES={}", names.join(":")),
            format!("{HEIR_OF}={}", std::process::id()),
        ] {
            self.environment.push(text(line.into_bytes())?);
        }
        for name in NUMBERS {
            if name == "LISTEN_PID" || std::env::var_os(name).is_some() {
                let line = text(format!("{name}={NUMBER}").into_bytes())?;
                self.environment.push(line);
                // SAFETY: the name and one byte are in front of the number.
                let number = unsafe { line.cast::<u8>().add(name.len() + 1) };
                self.numbers.push(number);
            }
        }
        self.environment.push(std::ptr::null());
        Ok(())
    }

    /// Notifies systemd that the calling process is the main process now, and waits until it has processed
    /// that, or for [`PATIENCE`]. From then on, either the calling process is the main process or a signal
    /// to end is pending.
    pub(super) fn claim(&self) {
        self.systemd.claim_main_process();
        let _ = self.systemd.wait_for_barrier(PATIENCE);
    }

    /// Executes the program in the place of the calling process, with the descriptors where
    /// sd_listen_fds(3) looks for them. Returns if that fails; what was open at their numbers is closed
    /// then.
    pub(super) fn execute(&self) {
        let mut number = [0; NUMBER.len()];
        let _ = write!(&mut number[..], "{}", std::process::id());
        for place in &self.numbers {
            // SAFETY: there is room for it, and nothing else looks at this copy of the memory.
            unsafe { std::ptr::copy_nonoverlapping(number.as_ptr(), *place, number.len()) };
        }
        let end = FIRST + self.descriptors.len() as RawFd;
        let mut copies = [-1; INHERITED_MAX];
        // SAFETY: only descriptors are concerned, and no other process has this table of them any more; texts
        // and pointers are there as execve(2) wants them; the set of signals is ours.
        unsafe {
            // First out of each other's way.
            for (copy, descriptor) in copies.iter_mut().zip(&self.descriptors) {
                *copy = libc::fcntl(*descriptor, libc::F_DUPFD_CLOEXEC, end);
                if *copy < 0 {
                    return;
                }
            }
            for (place, copy) in (FIRST..end).zip(copies) {
                libc::dup2(copy, place);
            }
            // One to reload would end a process that has not begun.
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::execve(
                self.program.as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
            );
        }
    }
}

/// Whether a process that has served for `served` has an heir. If `is_to_end`, systemd ends the service.
pub(super) fn has_heir(served: Option<Duration>, is_to_end: bool) -> bool {
    served.is_some_and(|served| served >= SERVED_AT_LEAST) && !is_to_end
}

/// Whether the calling process, which blocks all signals, is to end: by the signal of a stop, or by
/// that of the watchdog (`KillSignal=`, `WatchdogSignal=`, systemd.kill(5)). All processes of the service
/// may have got it; then it is systemd that starts the next one.
pub(super) fn is_to_end() -> bool {
    // SAFETY: the set is ours.
    unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut pending);
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT]
            .iter()
            .any(|signal| libc::sigismember(&pending, *signal) == 1)
    }
}

/// A text that is never freed.
fn text(bytes: Vec<u8>) -> io::Result<*mut c_char> {
    Ok(CString::new(bytes)?.into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_had_hardly_begun_to_serve_has_no_heir() {
        let long = Some(SERVED_AT_LEAST);
        assert!(has_heir(long, false));
        assert!(!has_heir(long, true), "systemd ends it");
        assert!(!has_heir(None, false), "it did not serve yet");
        let short = SERVED_AT_LEAST - Duration::from_millis(1);
        assert!(!has_heir(Some(short), false));
    }
}
