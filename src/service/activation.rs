//! The sockets that systemd hands us: sd_listen_fds(3).
//!
//! The only place that looks at `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

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
/// another process ([`elsewhere`]). Call it once, at the start: it gives away what it finds.
///
/// systemd sets `LISTEN_PID`, and `libsystemd` knows the names. Development tools such as systemfd
/// do not set it, so that their sockets are taken by `listenfd`, without names.
///
/// # Errors
///
/// When the variables contradict each other or what they promise is not there.
pub fn inherited() -> Result<Vec<Inherited>, ActivationError> {
    let promised = match std::env::var("LISTEN_FDS") {
        Ok(text) => text
            .parse::<usize>()
            .map_err(|_| ActivationError(format!("“{text}” is not a number of descriptors")))?,
        Err(_) => return Ok(Vec::new()),
    };
    match meant_for() {
        None => return anonymous(promised),
        Some(process) if process != std::process::id() => return Ok(Vec::new()),
        Some(_) => {}
    }
    // The crate would leave out what has no name.
    if let Ok(names) = std::env::var("LISTEN_FDNAMES")
        && names.split(':').count() != promised
    {
        return Err(ActivationError(format!(
            "LISTEN_FDS promises {promised}, LISTEN_FDNAMES names “{names}”"
        )));
    }
    let fail = |error: libsystemd::errors::SdError| ActivationError(error.to_string());
    let names = libsystemd::activation::receive_descriptors_with_names(false).map_err(fail)?;
    if names.is_empty() {
        let fds = libsystemd::activation::receive_descriptors(false).map_err(fail)?;
        return Ok(fds
            .into_iter()
            .map(|fd| take(fd.into_raw_fd(), String::new()))
            .collect());
    }
    Ok(names
        .into_iter()
        .map(|(fd, name)| take(fd.into_raw_fd(), name))
        .collect())
}

/// The process that the descriptors are meant for, if that is said.
fn meant_for() -> Option<u32> {
    let text = std::env::var("LISTEN_PID").ok()?;
    // What is no number is nobody's, as for sd_listen_fds(3).
    Some(text.parse().unwrap_or(0))
}

/// Where a socket is that this process has not got, as a sentence for people; `None` if there is none.
pub fn elsewhere() -> Option<String> {
    let this = std::process::id();
    match meant_for() {
        Some(process) if process != this && std::env::var_os("LISTEN_FDS").is_some() => {
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

fn anonymous(promised: usize) -> Result<Vec<Inherited>, ActivationError> {
    let mut manager = listenfd::ListenFd::from_env();
    (0..promised)
        .map(|index| match manager.take_raw_fd(index) {
            Ok(Some(fd)) => Ok(take(fd, String::new())),
            Ok(None) => Err(ActivationError(format!("number {index} is missing"))),
            Err(error) => Err(ActivationError(error.to_string())),
        })
        .collect()
}

fn take(fd: std::os::fd::RawFd, name: String) -> Inherited {
    // SAFETY: the descriptor was passed to this process for its use (sd_listen_fds(3)), the crates
    // have found it open, and `inherited` is the only place that takes it, once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Inherited { fd, name }
}
