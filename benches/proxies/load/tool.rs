//! Loads of tools that users have, before a service that is not ours either.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::when;
use crate::candidates::LISTENING_AT;
use crate::cpu::Tree;
use crate::outputs::{self, Output};
use crate::peers;
use crate::program::find;
use crate::window::{Mark, Seen};

/// A tool, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// iperf3 receives this number of streams from another iperf3.
    Iperf3(usize),
    /// wrk keeps this number of connections alive, before nginx.
    Wrk(usize),
    /// wrk has this number of connections at a time, for one request each; nginx closes them.
    WrkClosing(usize),
}

impl Tool {
    fn installed(name: &str, package: &str) -> Result<PathBuf, String> {
        find(name).ok_or_else(|| format!("{name} is missing: apt-get install {package}"))
    }

    /// The tool's program.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn program(self) -> Result<PathBuf, String> {
        match self {
            Self::Iperf3(_) => Self::installed("iperf3", "iperf3"),
            Self::Wrk(_) | Self::WrkClosing(_) => Self::installed("wrk", "wrk"),
        }
    }

    /// The program of the service.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn service(self) -> Result<PathBuf, String> {
        match self {
            Self::Iperf3(_) => self.program(),
            Self::Wrk(_) | Self::WrkClosing(_) => Self::installed("nginx", "nginx-light"),
        }
    }

    /// The arguments of the service, which may write to the directory.
    pub fn serve(self, directory: &Path, port: u16) -> Result<Vec<OsString>, String> {
        match self {
            Self::Iperf3(_) => Ok(vec!["--server".into(), format!("--port={port}").into()]),
            Self::Wrk(count) | Self::WrkClosing(count) => {
                peers::nginx_service(directory, port, 2 * count)
            }
        }
    }

    fn arguments(self, port: u16, seconds: u64) -> Vec<String> {
        let wrk = |connections: usize| {
            let url = format!("http://{LISTENING_AT}:{port}/");
            let options = format!("-t1 -c{connections} -d{seconds}s --latency");
            let options = options.split(' ').map(str::to_owned);
            options.chain([url]).collect::<Vec<_>>()
        };
        match self {
            Self::Iperf3(streams) => format!(
                "--client {LISTENING_AT} --port {port} --reverse --parallel {streams} --time {seconds} --json"
            )
            .split(' ')
            .map(str::to_owned)
            .collect(),
            Self::Wrk(connections) => wrk(connections),
            Self::WrkClosing(connections) => {
                let close = ["-H", "Connection: close"].map(str::to_owned);
                close.into_iter().chain(wrk(connections)).collect()
            }
        }
    }
}

/// Runs the tool for this time, in whole seconds. All of its run counts: what it has done, and what the
/// proxy has used from before its start until after its end.
pub fn run(
    tool: Tool,
    port: u16,
    length: Duration,
    proxy: &Tree,
) -> Result<(Seen, Output), String> {
    let seconds = length.as_secs_f64().ceil() as u64;
    let began = Mark::now(proxy);
    let output = Command::new(tool.program()?)
        .args(tool.arguments(port, seconds))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(when("the tool"))?;
    let mut seen = Seen::default();
    began.complete(proxy, &mut seen);
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the tool has failed: {text} {said}"));
    }
    let output = match tool {
        Tool::Iperf3(_) => outputs::iperf3(&text)?,
        Tool::Wrk(_) | Tool::WrkClosing(_) => outputs::wrk(&text)?,
    };
    seen.units = output.count;
    Ok((seen, output))
}
