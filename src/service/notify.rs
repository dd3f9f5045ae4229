//! What systemd hears from us: sd_notify(3). Silent when nobody listens.
//!
//! Through `libsystemd`, which also reaches a `NOTIFY_SOCKET` in the abstract namespace. It waits while systemd
//! reads nothing, because it is busy or does not run. Clients must not wait for that, so what may be late
//! (the status, a sign of life) is only offered.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use libsystemd::daemon::{self, NotifyState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::pace;
use super::text;

/// How often the watchdog wants a sign of life; `None` without one. Half of `WatchdogSec=`, as
/// sd_watchdog_enabled(3) recommends.
pub fn watchdog_interval() -> Option<Duration> {
    daemon::watchdog_enabled(false).map(|limit| limit / 2)
}

fn send(states: &[NotifyState]) {
    // Errors are of no use to anybody: without systemd there is nobody to tell, and with it systemd
    // notices by itself.
    if let Err(error) = daemon::notify(false, states) {
        tracing::debug!(ERROR = %error, "systemd cannot be told: {error}");
    }
}

/// Says something to whoever listens at `socket`, without waiting; whether that was taken, or can never be.
/// It is not as long as the queue of messages is full (`net.unix.max_dgram_qlen`).
fn offer(socket: &OsStr, state: &NotifyState) -> bool {
    let send = || {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        sender.send_to_addr(state.to_string().as_bytes(), &address)
    };
    match send() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => {
            tracing::debug!(ERROR = %error, "systemd cannot be told: {error}");
            true
        }
        Ok(_) => true,
    }
}

/// As [`offer`], to systemd. True if nobody listens.
fn offer_systemd(state: &NotifyState) -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| offer(&socket, state))
}

/// A client that comes now is served.
pub fn ready(status: &str) {
    pace::started();
    send(&[NotifyState::Ready, sentence(status)]);
}

/// The sentence that `systemctl status` shows. Does not wait; false if it has to be said again later.
pub fn status(status: &str) -> bool {
    offer_systemd(&sentence(status))
}

/// A line's end in it would begin another message to systemd, sd_notify(3).
fn sentence(status: &str) -> NotifyState {
    NotifyState::Status(text::sentence(status).into_owned())
}

/// The configuration is being read again; [`ready`] follows. Since systemd 253 the message has to
/// carry the time of the monotonic clock.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    send(&[
        NotifyState::Reloading,
        NotifyState::Other(format!("MONOTONIC_USEC={micros}")),
    ]);
}

/// The end has begun.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, sentence(status)]);
}

/// The end takes so much longer, from now on.
pub fn extend_timeout(by: Duration) {
    send(&[NotifyState::Other(format!(
        "EXTEND_TIMEOUT_USEC={}",
        by.as_micros()
    ))]);
}

/// A sign of life. Does not wait; false if it has to be given again later.
pub fn watchdog() -> bool {
    offer_systemd(&NotifyState::Watchdog)
}

/// Why systemd does not keep descriptors for us.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no systemd to ask.
    #[error("NOTIFY_SOCKET is not set")]
    NoManager,
    /// It could not be asked.
    #[error("systemd cannot be told: {0}")]
    Told(String),
    /// It did not answer in time.
    #[error("systemd does not answer")]
    NoAnswer,
    /// The kernel.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Whether it is systemd that listens, and not something that only understands a part of it: its socket
/// is always called so.
pub fn is_systemd() -> bool {
    std::env::var_os("NOTIFY_SOCKET")
        .is_some_and(|path| std::path::Path::new(&path).ends_with("systemd/notify"))
}

/// Has systemd keep these descriptors and hand them to the next process under this name: all of them
/// with one message, so that it keeps all or, if it dies right now, none. They come back although
/// nobody has the other end any more (`FDPOLL=0`). It keeps as many as `FileDescriptorStoreMax=` says
/// and silently closes the others.
///
/// # Errors
///
/// When it cannot be told.
pub fn store(name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), StoreError> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    tell(
        &[
            NotifyState::Fdstore,
            NotifyState::Fdname(name.to_owned()),
            NotifyState::FdpollDisable,
        ],
        &numbers,
    )
}

/// Has systemd close what it keeps under this name.
///
/// # Errors
///
/// When it cannot be told.
pub fn unstore(name: &str) -> Result<(), StoreError> {
    tell(
        &[
            NotifyState::FdstoreRemove,
            NotifyState::Fdname(name.to_owned()),
        ],
        &[],
    )
}

/// Waits until systemd has acted upon everything that it was told (`BARRIER=1`, sd_notify(3)).
///
/// # Errors
///
/// When it cannot be told, or does not answer within `limit`.
pub fn barrier(limit: Duration) -> Result<(), StoreError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let state = NotifyState::Other("BARRIER=1".to_owned());
    tell(&[state], &[write.as_raw_fd()])?;
    drop(write);
    // It closes its copy, the last.
    let mut fds = [PollFd::new(&read, PollFlags::empty())];
    let limit = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&limit)).map_err(io::Error::from)? {
        0 => Err(StoreError::NoAnswer),
        _ => Ok(()),
    }
}

fn tell(states: &[NotifyState], descriptors: &[RawFd]) -> Result<(), StoreError> {
    match daemon::notify_with_fds(false, states, descriptors) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::NoManager),
        Err(error) => Err(StoreError::Told(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let say = |text: &str| offer(path.as_os_str(), &sentence(text));
        let said = (0..100_000).take_while(|_| say("busy\n")).count();
        assert!(said < 100_000, "nobody reads");
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], br"STATUS=busy\n");
        assert!(say("there is room again"));
        drop(systemd);
        assert!(say("nobody is there, and nobody will be"));
    }

    #[test]
    fn a_name_without_a_path_is_reached() {
        let name = format!("notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        assert!(offer(format!("@{name}").as_ref(), &NotifyState::Watchdog));
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }
}
