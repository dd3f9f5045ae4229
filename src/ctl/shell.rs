//! A command of the command line, in a shell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use super::call::client::NamedProxy;

/// Runs the command and waits for its end; it is killed if this is dropped. Its environment names the proxy, and the
/// `target` that it is about.
pub async fn run(
    command: &OsStr,
    proxy: &NamedProxy,
    target: Option<&str>,
) -> io::Result<ExitStatus> {
    // Standard output is for the result of the verb.
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let target = target.map(|target| ("DISNIX_TCP_PROXY_TARGET", target));
    Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env("DISNIX_TCP_PROXY_CONTROL", &proxy.control)
        .envs(target)
        .stdout(Stdio::from(output))
        .kill_on_drop(true)
        .status()
        .await
}
