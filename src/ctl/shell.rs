//! A command of the command line, in a shell; words as they are typed in one.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::call::client::NamedProxy;

/// How long a command may take to end when it is told to.
pub const GRACE: Duration = Duration::from_secs(5);

/// Runs the command and waits for its end; it is killed if this is dropped. Its environment names the proxy.
pub async fn run(command: &OsStr, proxy: &NamedProxy) -> io::Result<ExitStatus> {
    ShellCommand::start(prepared(command, proxy)?, false)?
        .child
        .wait()
        .await
}

/// A command that runs; it is killed if this is dropped.
#[derive(Debug)]
pub struct ShellCommand {
    child: Child,
    has_group: bool,
}

impl ShellCommand {
    /// Starts a command whose environment names the proxy, and the `target` that it is about.
    pub fn about(command: &OsStr, proxy: &NamedProxy, target: &str) -> io::Result<Self> {
        let mut command = prepared(command, proxy)?;
        command.env("DISNIX_TCP_PROXY_TARGET", target);
        // In a group of its own it could not ask a question there.
        Self::start(command, !in_foreground())
    }

    /// With `has_group` all its processes end together.
    fn start(mut command: Command, has_group: bool) -> io::Result<Self> {
        if has_group {
            command.process_group(0);
        }
        let child = command.spawn()?;
        Ok(Self { child, has_group })
    }

    /// Waits for its end. `None`: `limit` was over before, so it was told to end, and killed if it had not done so within
    /// `grace`.
    pub async fn ends_within(
        &mut self,
        limit: Option<Duration>,
        grace: Duration,
    ) -> io::Result<Option<ExitStatus>> {
        let Some(limit) = limit else {
            return self.child.wait().await.map(Some);
        };
        if let Ok(ended) = timeout(limit, self.child.wait()).await {
            return ended.map(Some);
        }
        self.signal(Signal::TERM);
        let group = self.pid();
        let ended = timeout(grace, self.child.wait()).await;
        match (ended.is_ok(), group) {
            // What has not ended with the shell.
            (true, Some(group)) if self.has_group => _ = kill_process_group(group, Signal::KILL),
            (true, _) => {}
            (false, _) => self.signal(Signal::KILL),
        }
        self.child.wait().await?;
        Ok(None)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id()?.try_into().ok()?)
    }

    /// Fails only if it has just ended.
    fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid() else {
            return;
        };
        let _ = match self.has_group {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
    }
}

impl Drop for ShellCommand {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn prepared(command: &OsStr, proxy: &NamedProxy) -> io::Result<Command> {
    // Standard output is for the result of the verb.
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .env("DISNIX_TCP_PROXY_CONTROL", &proxy.control)
        .stdout(Stdio::from(output))
        .kill_on_drop(true);
    Ok(shell)
}

/// Whether this process, and with it a command that it starts, is in the foreground of its terminal.
pub fn in_foreground() -> bool {
    let terminal = File::open("/dev/tty"); // fails without a terminal, tty(4)
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

/// A word of a command, as it is typed in a shell.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@%+=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::call::client::tests::proxy;
    use std::io::Read;
    use std::path::Path;

    /// A command in a group of its own, whose `$FIFO` is read.
    fn start(text: &str, fifo: &Path) -> (ShellCommand, File) {
        let made = std::process::Command::new("mkfifo").arg(fifo).status();
        assert!(made.unwrap().success());
        let mut command = prepared(OsStr::new(text), &proxy("")).unwrap();
        command.env("FIFO", fifo);
        let running = ShellCommand::start(command, true).unwrap();
        (running, File::open(fifo).unwrap())
    }

    #[test]
    fn a_shell_reads_a_word_as_it_is() {
        for (word, typed) in [
            ("disnix-tcp-proxy@web.socket", "disnix-tcp-proxy@web.socket"),
            ("--what=all", "--what=all"),
            ("a\\x2db.socket", "'a\\x2db.socket'"),
            ("[::1]:80", "'[::1]:80'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), typed);
        }
    }

    #[tokio::test]
    async fn one_that_ends_in_time_has_its_status() {
        let directory = tempfile::tempdir().unwrap();
        for (name, limit) in [("without", None), ("with", Some(Duration::MAX))] {
            let fifo = directory.path().join(name);
            let (mut running, _fifo) = start("exec 3>\"$FIFO\"; exit 7", &fifo);
            let ended = running.ends_within(limit, GRACE).await.unwrap();
            assert_eq!(ended.and_then(|status| status.code()), Some(7), "{name}");
        }
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_all_its_processes() {
        const STUBBORN: &str = "(trap '' TERM; echo; sleep 1000) >\"$FIFO\" & wait";
        let directory = tempfile::tempdir().unwrap();
        for (name, text, grace) in [
            ("only the shell ends", STUBBORN.to_owned(), GRACE),
            (
                "nothing ends",
                format!("trap '' TERM; {STUBBORN}"),
                Duration::from_millis(1),
            ),
        ] {
            let (mut running, mut fifo) = start(&text, &directory.path().join(name));
            fifo.read_exact(&mut [0]).unwrap();
            let limit = Some(Duration::from_millis(1));
            let ended = running.ends_within(limit, grace).await.unwrap();
            assert_eq!(ended, None, "{name}");
            // The end comes when the last process has closed it.
            assert_eq!(fifo.read(&mut [0]).unwrap(), 0, "{name}");
        }
    }

    #[tokio::test]
    async fn one_that_is_dropped_is_killed_with_all_its_processes() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let (running, mut fifo) = start("(echo; sleep 1000) >\"$FIFO\" & wait", &fifo);
        fifo.read_exact(&mut [0]).unwrap();
        drop(running);
        assert_eq!(fifo.read(&mut [0]).unwrap(), 0);
    }
}
