//! `lock --when-closed COMMAND`: what is done once the gate is closed, before the drain is waited for.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use super::client::NamedProxy;
use super::failure::CtlFailure;
use super::view::View;
use crate::service::signals::Signals;

/// Runs the command and waits for its end. A failure is only reported: the drain can be completed without it. A
/// signal is a failure of the call.
pub async fn run(
    command: &OsStr,
    proxy: &NamedProxy,
    view: &mut View,
    signals: &mut Signals,
) -> Result<(), CtlFailure> {
    view.clear();
    let status = tokio::select! {
        status = status(command, proxy) => status,
        _ = signals.next() => return Err(CtlFailure::Interrupted),
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => view.note(&format!(
            "warning: the command of --when-closed has failed ({status}); the drain goes on"
        )),
        Err(error) => view.note(&format!(
            "warning: the command of --when-closed could not be run ({error}); the drain goes on"
        )),
    }
    Ok(())
}

async fn status(command: &OsStr, proxy: &NamedProxy) -> io::Result<ExitStatus> {
    // Standard output is for the result of the verb.
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env("DISNIX_TCP_PROXY_CONTROL", &proxy.control)
        .stdout(Stdio::from(output))
        .kill_on_drop(true)
        .status()
        .await
}
