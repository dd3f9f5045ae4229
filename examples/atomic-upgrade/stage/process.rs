//! A process of a program: its start and its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpgid,
};
use tokio::process::{Child, Command};

use super::Program;
use crate::Fallible;

/// The first descriptor that is passed, `SD_LISTEN_FDS_START`.
const FIRST_DESCRIPTOR: i32 = 3;

/// Sets `LISTEN_PID`, which is only known in the new process, and executes the program.
const EXECUTE: &str = r#"export LISTEN_PID=$$; exec "$@""#;

/// The process of a unit.
pub struct Process {
    /// Its number.
    pub id: Pid,
    child: Child,
}

impl Process {
    /// Starts the program with these descriptors and their names. It logs to `log`, or to standard
    /// error.
    pub fn start<'a>(
        program: &Program,
        descriptors: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
        notify: &Path,
        log: Option<&PathBuf>,
    ) -> Fallible<Self> {
        let (names, descriptors): (Vec<_>, Vec<_>) = descriptors.unzip();
        // Copies far above their final numbers, so that none overwrites another.
        let copies = descriptors.into_iter();
        let copies = copies.map(|descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 100));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        let output = match log {
            Some(path) => File::options().append(true).create(true).open(path)?.into(),
            None => io::stderr().as_fd().try_clone_to_owned()?,
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", EXECUTE, "sh"])
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
            for (number, copy) in (FIRST_DESCRIPTOR..).zip(&copies) {
                // SAFETY: both are plain numbers; dup2 touches no memory and may be called
                // between fork and exec.
                if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
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

    /// Sends SIGTERM, unless the process has ended.
    pub fn terminate(&self) -> io::Result<()> {
        match self.child.id() {
            Some(_) => Ok(kill_process(self.id, Signal::TERM)?),
            None => Ok(()),
        }
    }

    /// Waits for its end.
    pub async fn ends(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits until its children have ended too, as systemd does before it starts the program again:
    /// the proxy's last will still has to do its work. They are our children since
    /// [`inherit_children`].
    pub async fn group_ends(self) -> Fallible<()> {
        let wait = move || loop {
            match waitpgid(self.id, WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return, // there are none
            }
        };
        Ok(tokio::task::spawn_blocking(wait).await?)
    }
}

/// Makes this process the parent of orphaned descendants.
pub fn inherit_children() -> io::Result<()> {
    let ourselves = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(ourselves))?)
}
