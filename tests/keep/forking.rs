//! Starting processes, while descriptors come from others.
//!
//! A new process has copies of all descriptors until it becomes another program, also of those that another thread has just
//! received and closes. Meanwhile their other ends do not hang up. systemd has one thread, so it starts none in between.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

static FORKING: Mutex<()> = Mutex::new(());

/// Until this is dropped, no process is started.
pub fn not_now() -> MutexGuard<'static, ()> {
    FORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process. It has become its program when this returns.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _alone = not_now();
    command.spawn()
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(command)?.wait_with_output()
}
