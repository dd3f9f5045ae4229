//! The sockets that systemd hands us: sd_listen_fds(3).
//!
//! The only place that looks at `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`.

use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The number of the first descriptor, sd_listen_fds(3).
const FIRST: RawFd = 3;

/// A descriptor from systemd.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptor.
    pub fd: OwnedFd,
    /// What `FileDescriptorName=` calls it; the unit's name if it says nothing, and empty if the
    /// sockets come from something simpler than systemd.
    pub name: String,
}

impl Inherited {
    /// Another descriptor of the same, which is closed when a program is executed.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn try_clone(&self) -> std::io::Result<Self> {
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

/// All descriptors that were inherited, with their names; none if there are none, or if they are meant for
/// another process ([`elsewhere`]). Development tools such as systemfd set neither `LISTEN_PID` nor names.
///
/// Call it once, before the process opens anything: it gives away what it finds, and what is opened later must
/// not be found.
///
/// # Errors
///
/// When the variables contradict each other or what they promise is not there.
pub fn inherited() -> Result<Vec<Inherited>, ActivationError> {
    let Ok(promised) = env::var("LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    let promised = promised
        .parse()
        .map_err(|_| ActivationError(format!("“{promised}” is not a number of descriptors")))?;
    let process = meant_for();
    if promised == 0 || process.is_some_and(|process| process != std::process::id()) {
        return Ok(Vec::new());
    }
    let names = match process.and_then(|_| env::var("LISTEN_FDNAMES").ok()) {
        Some(names) => names_of(promised, &names)?,
        None => Vec::new(),
    };
    let mut names = names.into_iter();
    (0..promised)
        .map(|index| take(promised, index, names.next().unwrap_or_default()))
        .collect()
}

/// The names of so many descriptors.
fn names_of(promised: u64, names: &str) -> Result<Vec<String>, ActivationError> {
    let all: Vec<String> = names.split(':').map(str::to_owned).collect();
    match all.len() as u64 == promised {
        true => Ok(all),
        false => Err(ActivationError(format!(
            "LISTEN_FDS promises {promised}, LISTEN_FDNAMES names “{names}”"
        ))),
    }
}

/// The process that the descriptors are meant for, if that is said.
fn meant_for() -> Option<u32> {
    let text = env::var("LISTEN_PID").ok()?;
    // What is no number is nobody's, as for sd_listen_fds(3).
    Some(text.parse().unwrap_or(0))
}

/// Where a socket is that this process has not got, as a sentence for people; `None` if there is none.
pub fn elsewhere() -> Option<String> {
    let this = std::process::id();
    match meant_for() {
        Some(0) if env::var_os("LISTEN_FDS").is_some() => {
            return Some(format!(
                "LISTEN_PID is “{}”, which is the number of no process: the sockets of LISTEN_FDS are not \
                 used",
                env::var("LISTEN_PID").unwrap_or_default()
            ));
        }
        Some(process) if process != this && env::var_os("LISTEN_FDS").is_some() => {
            return Some(format!(
                "LISTEN_FDS is meant for process {process} (LISTEN_PID), and this is {this}: where a \
                 shell starts the program, let it say “exec”"
            ));
        }
        _ => {}
    }
    let stdin = std::io::stdin();
    let listens = rustix::net::sockopt::socket_acceptconn(&stdin) == Ok(true);
    listens.then(|| {
        "the socket is standard input: leave StandardInput=socket out of the unit".to_owned()
    })
}

/// The promised descriptor with this index. From now on it is closed when a program is executed.
fn take(promised: u64, index: u64, name: String) -> Result<Inherited, ActivationError> {
    let number = index + FIRST as u64;
    let fd = RawFd::try_from(number).unwrap_or(RawFd::MAX);
    // SAFETY: no memory is involved; a number that is not open is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(ActivationError(format!(
            "LISTEN_FDS promises {promised}, descriptor {number} is not open"
        )));
    }
    // SAFETY: the descriptor is open, was passed to this process for its use (sd_listen_fds(3)), and
    // `inherited` is the only place that takes it, once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(Inherited { fd, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_has_a_name_or_none_has() {
        assert_eq!(names_of(3, "a::b").unwrap(), ["a", "", "b"]);
        for (promised, names) in [(1, "a:b"), (2, "a"), (u64::MAX, "a")] {
            let error = names_of(promised, names).unwrap_err().to_string();
            assert!(error.contains(&format!("promises {promised}")), "{error}");
        }
    }
}
