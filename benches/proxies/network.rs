//! A network of its own for each measurement.
//!
//! Each connection that was closed keeps its port for a minute (`TIME_WAIT`), and connect(2) looks for
//! a free one: it takes the longer, the more connections everybody before has made. In a network of its
//! own (network_namespaces(7)) each candidate begins with none, and there are enough ports for the
//! fastest. Everything else is as on the machine.

use std::fs;
use std::io;
use std::process::Command;

use rustix::process::geteuid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What a new namespace does not take over from the machine.
const KEPT: [&str; 2] = [
    "/proc/sys/net/unix/max_dgram_qlen",
    "/proc/sys/net/core/somaxconn",
];

/// Whether each measurement can have one.
pub fn is_possible() -> bool {
    geteuid().is_root()
}

/// The default of a namespace.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// What a namespace may have as its default; for the whole machine.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Whether every measurement can have this congestion control.
///
/// # Errors
///
/// What to do to have it.
pub fn check(congestion: Option<&str>) -> Result<(), String> {
    let Some(name) = congestion else {
        return Ok(());
    };
    if !is_possible() {
        return Err(format!(
            "--congestion {name} needs root, for a network of its own for each measurement."
        ));
    }
    let allowed = fs::read_to_string(ALLOWED).map_err(|error| format!("{ALLOWED}: {error}"))?;
    match allowed.split_whitespace().any(|it| it == name) {
        true => Ok(()),
        false => Err(format!(
            "{name} is not allowed in a network namespace: modprobe tcp_{name}; \
             sysctl net.ipv4.tcp_allowed_congestion_control=\"{} {name}\"",
            allowed.trim()
        )),
    }
}

/// Enters a new one, with nothing but a loopback interface, if that is possible: this thread, and the
/// programs that it starts from now on. `congestion` is the default of its connections.
pub fn enter(congestion: Option<&str>) -> io::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let kept = KEPT.map(|path| (path, fs::read(path)));
    // SAFETY: only the network changes, which no other thread of this program uses; the descriptor
    // table stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    for (path, value) in kept {
        fs::write(path, value?)?;
    }
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
    if let Some(name) = congestion {
        fs::write(CONGESTION, name)?;
    }
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()?;
    match up.success() {
        true => Ok(()),
        false => Err(io::Error::other("ip link set lo up has failed")),
    }
}
