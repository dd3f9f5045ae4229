//! `lock -- COMMAND`: hold the lock while a command runs, like flock(1).
//!
//! The lock lasts as long as our connection, so that it ends with this process at the latest.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::call::client::NamedProxy;
use super::call::wait::{CallEvent, DrainCall, PendingCall, catch_signals};
use super::drain_view::view::{View, progress};
use super::failure::CtlFailure;
use super::hold;
use super::lock::parameters;
use super::options::LockOptions;
use super::shell::in_foreground;
use crate::interface::Status;
use crate::service::plural::count;
use crate::service::program::note;
use crate::service::signals::Signals;

/// The exit status of a shell for a command that it did not find, and for one that it could not start.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

/// Locks, runs the command, unlocks, and returns the command's exit status. Without the lock it is not run.
pub async fn run(proxy: &NamedProxy, options: &LockOptions) -> Result<u8, CtlFailure> {
    let mut signals = catch_signals()?;
    let lock = parameters(options, true);
    let mut call = PendingCall::start(proxy, DrainCall::Lock(lock.clone()));
    let mut view = View::new(proxy, false);
    let reply = call
        .complete(options.when_closed.as_deref(), &mut view, &mut signals)
        .await?;
    drop(view);
    note(progress(&reply));

    let status = match start(proxy, &options.command) {
        Ok(mut child) => attend(&mut child, &mut call, &mut signals).await,
        Err(error) => {
            let name = options.command[0].to_string_lossy();
            note(format_args!(
                "{name} could not be started: {error}; opening the gate again"
            ));
            match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_STARTED,
            }
        }
    };
    let result = hold::release(proxy, &lock, call).await;
    report(proxy, result);
    Ok(status)
}

fn start(proxy: &NamedProxy, command: &[OsString]) -> io::Result<Child> {
    Command::new(&command[0])
        .args(&command[1..])
        .env("DISNIX_TCP_PROXY_CONTROL", &proxy.control)
        .spawn()
}

/// Waits for the command, passes signals on to it, and warns when the lock is in danger.
async fn attend(child: &mut Child, call: &mut PendingCall, signals: &mut Signals) -> u8 {
    loop {
        tokio::select! {
            status = child.wait() => return match status {
                Ok(status) => exit_status(status),
                Err(error) => {
                    note(format_args!("the command cannot be waited for: {error}"));
                    1
                }
            },
            event = call.next() => warn(&event),
            signal = signals.next() => forward(signal, child),
        }
    }
}

fn exit_status(status: ExitStatus) -> u8 {
    let status = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    status.try_into().unwrap_or(u8::MAX)
}

fn warn(event: &Result<CallEvent, CtlFailure>) {
    match event {
        Ok(CallEvent::Reply { complete: true, .. }) => {}
        Ok(CallEvent::Reply { reply, .. }) => note(format_args!(
            "warning: connections came in while the lock was lost ({}); the command goes on",
            progress(reply)
        )),
        Ok(CallEvent::Lost) => {
            note(
                "warning: the connection to the proxy was lost while the command runs; locking again",
            );
        }
        Ok(CallEvent::Back) => note("the proxy is there again; the lock is held again"),
        Err(failure) => note(format_args!(
            "warning: the lock is no longer held while the command goes on: {failure}"
        )),
    }
}

/// What a terminal sends to all processes in its foreground: Ctrl-C, Ctrl-\, hanging up.
const OF_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::HUP];

/// Passes a signal on, unless it comes from the terminal: the command gets that one itself.
fn forward(signal: Signal, child: &Child) {
    if OF_TERMINAL.contains(&signal) && in_foreground() {
        return;
    }
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(pid) = pid {
        // It fails only if the command has just ended.
        let _ = kill_process(pid, signal);
    }
}

/// Reports whether the gate is open now.
fn report(proxy: &NamedProxy, result: Result<Status, CtlFailure>) {
    match result {
        Ok(status) => note(describe(proxy, &status)),
        Err(failure) => note(format_args!(
            "warning: it cannot be told whether the gate is open again: {failure}"
        )),
    }
}

fn describe(proxy: &NamedProxy, status: &Status) -> String {
    let Some(lock) = &status.lock else {
        return "the gate is open again".to_owned();
    };
    let holder = match lock.kept {
        true => "an earlier lock".to_owned(),
        false => count(lock.callers, "other caller"),
    };
    let reason = lock.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let unlock = proxy.command("unlock");
    format!("the gate stays closed, kept by {holder}{reason}; `{unlock}` opens it for everybody")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::call::client::tests::proxy;
    use crate::ctl::description::tests::{lock, status};

    #[test]
    fn of_a_gate_that_stays_closed_it_is_said_what_opens_it() {
        let mut status = status();
        let web = proxy(" --instance web");
        assert_eq!(describe(&web, &status), "the gate is open again");
        status.lock = Some(lock());
        assert_eq!(
            describe(&web, &status),
            "the gate stays closed, kept by 1 other caller (upgrade to 2); \
             `disnix-tcp-proxyctl --instance web unlock` opens it for everybody"
        );
    }

    #[test]
    fn the_exit_status_is_that_of_a_shell() {
        for (wait_status, expected) in [(0, 0), (7 << 8, 7), (15, 143), (9, 137)] {
            assert_eq!(exit_status(ExitStatus::from_raw(wait_status)), expected);
        }
    }
}
