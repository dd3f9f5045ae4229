//! The sockets that systemd passes to the process: sd_listen_fds(3).
//!
//! Nothing else reads `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// The number of the first descriptor, sd_listen_fds(3).
pub const FIRST: RawFd = 3;

/// A descriptor from systemd.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptor.
    pub fd: OwnedFd,
    /// `FileDescriptorName=`, by default the unit's name; empty if the sockets come from a simpler tool.
    pub name: String,
}

impl Inherited {
    /// Duplicates the descriptor, with `O_CLOEXEC`. Fails when descriptors have run out.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            name: self.name.clone(),
        })
    }
}

/// Why the inherited sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the sockets inherited by LISTEN_FDS cannot be used: {0}")]
pub struct ActivationError(String);

/// Takes all inherited descriptors, with their names; none if they are for another process ([`elsewhere`]).
///
/// systemd sets `LISTEN_PID`; `libsystemd` takes its descriptors, with names. Development tools such as systemfd do
/// not; `listenfd` takes theirs, without names. Neither crate checks the promised number: one too large would
/// allocate memory without end, or take a descriptor of our own.
///
/// Call it once, before the process opens anything that it could take.
///
/// # Errors
///
/// When the variables contradict each other, or a promised descriptor is not open.
pub fn inherited() -> Result<Vec<Inherited>, ActivationError> {
    let process = intended_process();
    let is_for_another = process.is_some_and(|process| process != std::process::id());
    let promised = env::var("LISTEN_FDS").unwrap_or_default();
    if is_for_another || promised.is_empty() {
        return Ok(Vec::new());
    }
    let promised = promised
        .parse()
        .map_err(|_| ActivationError(format!("“{promised}” is not a number of descriptors")))?;
    if promised == 0 {
        return Ok(Vec::new());
    }
    if let (Some(_), Ok(names)) = (process, env::var("LISTEN_FDNAMES")) {
        check_names(promised, &names)?;
    }
    let count = check_open(promised)?;
    match process {
        Some(_) => named(),
        None => anonymous(count),
    }
}

/// Checks that each descriptor has a name: the crate would leave out one without.
fn check_names(promised: u64, names: &str) -> Result<(), ActivationError> {
    match names.split(':').count() as u64 == promised {
        true => Ok(()),
        false => Err(ActivationError(format!(
            "LISTEN_FDS promises {promised}, LISTEN_FDNAMES names “{names}”"
        ))),
    }
}

/// Checks that each promised descriptor is open. Returns their number.
fn check_open(promised: u64) -> Result<usize, ActivationError> {
    for number in (FIRST as u64..).take(usize::try_from(promised).unwrap_or(usize::MAX)) {
        let fd = RawFd::try_from(number).unwrap_or(RawFd::MAX);
        // SAFETY: no memory is involved; a number that is not open is an error.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            return Err(ActivationError(format!(
                "LISTEN_FDS promises {promised}, descriptor {number} is not open"
            )));
        }
    }
    // There are no more than descriptors.
    Ok(promised as usize)
}

/// Takes the descriptors of systemd.
fn named() -> Result<Vec<Inherited>, ActivationError> {
    let fail = |error: libsystemd::errors::SdError| ActivationError(error.to_string());
    let mut fds = libsystemd::activation::receive_descriptors_with_names(false).map_err(fail)?;
    if fds.is_empty() {
        let nameless = libsystemd::activation::receive_descriptors(false).map_err(fail)?;
        fds.extend(nameless.into_iter().map(|fd| (fd, String::new())));
    }
    Ok(fds
        .into_iter()
        .map(|(fd, name)| take(fd.into_raw_fd(), name))
        .collect())
}

/// Takes the descriptors of a simpler tool.
fn anonymous(count: usize) -> Result<Vec<Inherited>, ActivationError> {
    let fail = |error: io::Error| ActivationError(error.to_string());
    let mut manager = listenfd::ListenFd::from_env();
    (0..count)
        .filter_map(|index| manager.take_raw_fd(index).map_err(fail).transpose())
        .map(|fd| Ok(take(fd?, String::new())))
        .collect()
}

/// `LISTEN_PID`.
fn intended_process() -> Option<u32> {
    let text = env::var("LISTEN_PID").ok()?;
    // Anything but a number means no process, as for sd_listen_fds(3).
    Some(text.parse().unwrap_or(0))
}

/// Where the socket is that this process did not get, as a sentence for people; `None` if there is none.
pub fn elsewhere() -> Option<String> {
    let this = std::process::id();
    let has_sockets = env::var_os("LISTEN_FDS").is_some();
    match intended_process().filter(|_| has_sockets) {
        Some(0) => Some(format!(
            "LISTEN_PID is “{}”, which is the number of no process: the sockets of LISTEN_FDS are not used",
            env::var("LISTEN_PID").unwrap_or_default()
        )),
        Some(process) if process != this => Some(format!(
            "LISTEN_FDS is meant for process {process} (LISTEN_PID), and this is {this}: where a shell \
             starts the program, let it say “exec”"
        )),
        _ if rustix::net::sockopt::socket_acceptconn(io::stdin()) == Ok(true) => Some(
            "the socket is standard input: leave StandardInput=socket out of the unit".to_owned(),
        ),
        _ => None,
    }
}

fn take(fd: RawFd, name: String) -> Inherited {
    // SAFETY: the descriptor is open, was passed to this process (sd_listen_fds(3)), and is taken here only, once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Inherited { fd, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_has_a_name_or_none_has() {
        assert!(check_names(3, "a::b").is_ok());
        for (promised, names) in [(1, "a:b"), (2, "a"), (u64::MAX, "a")] {
            let error = check_names(promised, names).unwrap_err().to_string();
            assert!(error.contains(&format!("promises {promised}")), "{error}");
        }
    }
}
