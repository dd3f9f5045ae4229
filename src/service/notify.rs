//! What systemd is notified of: sd_notify(3). Silent when nobody listens.
//!
//! Clients must not wait while systemd reads nothing, because it is busy or does not run. So what may be late (the
//! status, a sign of life) is only offered.

mod channel;

use std::borrow::Cow;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::time::Duration;

pub use channel::Channel;

use rustix::net::SendFlags;
use sd_notify::NotifyState;

use super::exhausted::is_exhausted;
use super::pace;
use super::printable;

/// The way to systemd: what is sent later needs no descriptor.
static SYSTEMD: OnceLock<Channel> = OnceLock::new();

/// The way to systemd, which stays open from the first call on; `None` without `NOTIFY_SOCKET`.
///
/// # Errors
///
/// When `NOTIFY_SOCKET` makes no sense, or no descriptor is left.
pub fn systemd() -> io::Result<Option<&'static Channel>> {
    if let Some(channel) = SYSTEMD.get() {
        return Ok(Some(channel));
    }
    let channel = Channel::of_environment()?;
    Ok(channel.map(|channel| SYSTEMD.get_or_init(|| channel)))
}

/// How often the watchdog wants a sign of life; `None` without one. Half of `WatchdogSec=`, as
/// sd_watchdog_enabled(3) recommends.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Sends a message, and waits until there is room for it.
fn send(states: &[NotifyState<'_>]) {
    // Errors are of no use to anybody: without systemd there is nobody to notify, and with it systemd
    // notices by itself.
    match send_with(states, &[]) {
        Ok(()) | Err(StoreError::NoManager) => {}
        Err(error) => tracing::debug!(ERROR = %error, "{error}"),
    }
}

fn send_with(states: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) -> Result<(), StoreError> {
    let channel = manager()?;
    channel
        .send(&message(states), descriptors, SendFlags::empty())
        .map_err(StoreError::Unreached)
}

fn manager() -> Result<&'static Channel, StoreError> {
    let channel = systemd().map_err(StoreError::Unreached)?;
    channel.ok_or(StoreError::NoManager)
}

fn message(states: &[NotifyState<'_>]) -> Vec<u8> {
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    lines.join("\n").into_bytes()
}

/// Sends a message without waiting. False if it has to be sent again later, because there was no room for it or
/// the kernel had none; true if it was taken, or can never be.
fn offer(channel: io::Result<Option<&Channel>>, state: NotifyState<'_>) -> bool {
    let sent = match channel {
        Ok(None) => return true,
        Ok(Some(channel)) => channel.send(&message(&[state]), &[], SendFlags::DONTWAIT),
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => true,
        Err(error) if is_passing(&error) => false,
        Err(error) => {
            tracing::debug!(ERROR = %error, "systemd cannot be notified: {error}");
            true
        }
    }
}

/// Whether the same message may be taken later.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock) || is_exhausted(error)
}

/// A client that comes now is served.
pub fn ready(status: &str) {
    pace::started();
    send(&[NotifyState::Ready, NotifyState::Status(&sentence(status))]);
}

/// The sentence that `systemctl status` shows. Does not wait; false if it has to be said again later.
pub fn status(status: &str) -> bool {
    let status = sentence(status);
    offer(systemd(), NotifyState::Status(&status))
}

/// A line's end in it would begin another message to systemd, sd_notify(3).
fn sentence(status: &str) -> Cow<'_, str> {
    printable::sentence(status)
}

/// The configuration is being read again; [`ready`] follows. Since systemd 253 the message has to
/// carry the time of the monotonic clock.
pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    send(
        &[Some(NotifyState::Reloading), now.ok()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    );
}

/// The end has begun.
pub fn stopping(status: &str) {
    send(&[
        NotifyState::Stopping,
        NotifyState::Status(&sentence(status)),
    ]);
}

/// The end takes so much longer, from now on.
pub fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// A sign of life. Does not wait; false if it has to be given again later.
pub fn watchdog() -> bool {
    offer(systemd(), NotifyState::Watchdog)
}

/// Why systemd does not keep descriptors for us.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no systemd to ask.
    #[error("NOTIFY_SOCKET is not set")]
    NoManager,
    /// It could not be asked.
    #[error("systemd cannot be notified: {0}")]
    Unreached(#[source] io::Error),
    /// It did not answer in time.
    #[error("systemd does not answer")]
    NoAnswer,
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
    // It keeps them although nobody has the other end any more.
    let unwatched = NotifyState::Custom("FDPOLL=0");
    send_with(
        &[NotifyState::FdStore, NotifyState::FdName(name), unwatched],
        descriptors,
    )
}

/// Has systemd close what it keeps under this name.
///
/// # Errors
///
/// When it cannot be told.
pub fn unstore(name: &str) -> Result<(), StoreError> {
    send_with(
        &[NotifyState::FdStoreRemove, NotifyState::FdName(name)],
        &[],
    )
}

/// Waits until systemd has acted upon everything that it was told (`BARRIER=1`, sd_notify(3)).
///
/// # Errors
///
/// When it cannot be told, or does not answer within `limit`.
pub fn barrier(limit: Duration) -> Result<(), StoreError> {
    match manager()?.wait_for_barrier(limit) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::NoAnswer),
        Err(error) => Err(StoreError::Unreached(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn what_fails_for_want_of_something_is_offered_again() {
        for (number, again) in [
            (libc::EAGAIN, true),
            (libc::ETIMEDOUT, true),
            (libc::EMFILE, true),
            (libc::ENOBUFS, true),
            (libc::ECONNREFUSED, false),
            (libc::ENOENT, false),
        ] {
            let channel = Err(io::Error::from_raw_os_error(number));
            assert_eq!(!offer(channel, NotifyState::Watchdog), again, "{number}");
        }
    }

    #[test]
    fn what_is_offered_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let channel = Channel::to(path.as_os_str().as_bytes()).unwrap();
        let say = |text: &str| offer(Ok(Some(&channel)), NotifyState::Status(&sentence(text)));
        let said = (0..100_000).take_while(|_| say("busy\n")).count();
        assert!(said < 100_000, "nobody reads");
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], br"STATUS=busy\n");
        assert!(say("there is room again"));
        drop(systemd);
        assert!(say("nobody is there, and nobody will be"));
    }
}
