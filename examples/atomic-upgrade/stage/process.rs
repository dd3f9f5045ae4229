//! One process of a program: how it begins, and how it has ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpgid,
};
use tokio::process::{Child, Command};

use super::Program;
use crate::Fallible;

/// The first descriptor that is handed over, `SD_LISTEN_FDS_START`.
const FIRST_DESCRIPTOR: i32 = 3;

/// Sets `LISTEN_PID`, which only the new process itself knows, and becomes the program.
const BECOME: &str = r#"export LISTEN_PID=$$; exec "$@""#;

/// What a unit runs in, and how it ended.
pub struct Process {
    /// Its number.
    pub id: Pid,
    child: Child,
}

impl Process {
    /// Starts the program with these descriptors and their names. It logs to `log`, or else to standard
    /// error.
    pub fn start<'a>(
        program: &Program,
        descriptors: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
        notify: &Path,
        log: Option<&PathBuf>,
    ) -> Fallible<Self> {
        let (names, descriptors): (Vec<_>, Vec<_>) = descriptors.unzip();
        // Copies far above the places they are to have, so that none overwrites another.
        let copies = descriptors.into_iter();
        let copies = copies.map(|descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 100));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        let output = match log {
            Some(path) => File::options().append(true).create(true).open(path)?.into(),
            None => io::stderr().as_fd().try_clone_to_owned()?,
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME, "sh"])
            .arg(&program.path)
            .args(&program.arguments)
            .env_clear()
            .env("LISTEN_FDS", copies.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", notify)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true);
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            for (place, copy) in (FIRST_DESCRIPTOR..).zip(&copies) {
                // SAFETY: both are plain numbers; dup2 touches no memory and may be called
                // between fork and exec.
                if unsafe { libc::dup2(copy.as_raw_fd(), place) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `prepare` makes system calls only and does not allocate.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id as i32));
        let id = id.ok_or("it has no number")?;
        Ok(Self { id, child })
    }

    /// Asks it to end.
    pub fn terminate(&self) -> io::Result<()> {
        // Without a number it has ended and been waited for already.
        match self.child.id() {
            Some(_) => Ok(kill_process(self.id, Signal::TERM)?),
            None => Ok(()),
        }
    }

    /// Waits for its end.
    pub async fn ends(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits until nobody is left whom it has started, as systemd does before it starts a program
    /// again: the proxy's last will still has to be carried out. Those are ours to wait for since
    /// [`inherit_children`].
    pub async fn leaves_nobody(self) -> Fallible<()> {
        let group = self.id;
        let wait = move || loop {
            match waitpgid(group, WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return, // there are none
            }
        };
        Ok(tokio::task::spawn_blocking(wait).await?)
    }
}

/// From now on the children of a process that dies become ours.
pub fn inherit_children() -> io::Result<()> {
    let ourselves = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(ourselves))?)
}

/// Whether somebody has killed it: then it is to be started again.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// Whether it was told to end and has left open connections to the next process
/// (`RestartForceExitStatus=75` of the shipped unit).
pub fn has_left(status: ExitStatus) -> bool {
    status.code() == Some(75)
}

/// Why a program's end is a failure.
pub fn failure(status: ExitStatus, was_ready: bool) -> String {
    match was_ready {
        true => format!("it ended with {status}"),
        false => format!("it ended ({status}) before it was ready"),
    }
}
