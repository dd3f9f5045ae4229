//! Runs a tool that users have.

use std::net::SocketAddrV4;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::when;
use crate::program::{Running, find};
use crate::tools::outputs::{self, Output};
use crate::tools::tool::{Amount, End, Program, Tool};
use crate::window::{Mark, Seen};

/// The requests from which is seen how many fit into the time.
const SAMPLE: usize = 2_000;
/// A tool that takes ten times as long as it shall, and this time, hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the tool for about this time, and at least for a second. All of its run counts: what it has done,
/// and what the proxy has used from before its start until after its end.
pub fn run(
    tool: Tool,
    to: SocketAddrV4,
    length: Duration,
    proxy: Option<&Running>,
) -> Result<(Seen, Output), String> {
    // Its start does not count, and it has all its processes then.
    proxy.map_or(Ok(()), Running::wait_until_it_rests)?;
    let proxy = proxy.map(Running::processes).unwrap_or_default();
    let patience = PATIENCE + length * 10;
    let once = |amount| once(tool, to, amount, patience);
    let amount = match tool.end() {
        End::Time => Amount::Seconds(length.as_secs_f64().ceil() as u64),
        End::Count => {
            let fits = once(Amount::Requests(SAMPLE))?.rate * length.as_secs_f64();
            Amount::Requests((fits as usize).max(SAMPLE))
        }
        End::Burst => Amount::Requests(tool.connections),
    };
    let began = Mark::now(&proxy);
    let mut output = once(amount)?;
    while tool.end() == End::Burst && began.elapsed() < length {
        output = output.and(&once(amount)?);
    }
    let mut seen = Seen::default();
    began.complete(&proxy, &mut seen);
    seen.units = output.count;
    Ok((seen, output))
}

fn once(
    tool: Tool,
    to: SocketAddrV4,
    amount: Amount,
    patience: Duration,
) -> Result<Output, String> {
    let name = tool.program.name();
    let invocation = tool.ask(to, amount)?;
    let timeout = find("timeout").ok_or("timeout is missing: apt-get install coreutils")?;
    let output = Command::new(timeout)
        .args(["--kill-after=1", &patience.as_secs().to_string()])
        .arg(invocation.program)
        .args(invocation.arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(when(name))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = format!("{} {}", text.trim(), said.trim());
        return Err(format!("{name} has failed ({}): {said}", output.status));
    }
    match (tool.program, amount) {
        (Program::Iperf3, _) => outputs::iperf3(&text),
        (Program::Wrk, _) => outputs::wrk(&text),
        (Program::H2load, _) => outputs::h2load(&text),
        (Program::Ab, _) => outputs::ab(&text),
        (Program::Pgbench, _) => outputs::pgbench(&text),
        (Program::RedisBenchmark, Amount::Requests(count)) => outputs::redis(&text, count as u64),
        (Program::RedisBenchmark, Amount::Seconds(_)) => Err(format!("{name} knows no time")),
    }
}
