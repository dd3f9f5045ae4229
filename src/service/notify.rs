//! Notifying systemd: sd_notify(3). Does nothing without `NOTIFY_SOCKET`.
//!
//! Clients and the end must not wait while systemd does not read, because it is busy or does not run. So what may be late
//! or may be missing (the status, a watchdog ping, that the end has begun) is sent without waiting.

mod channel;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub use channel::Channel;

use rustix::net::SendFlags;
use sd_notify::NotifyState;

use super::exhausted::is_exhausted;
use super::printable::sentence;

/// Stays open, so that sending later needs no descriptor.
static SYSTEMD: OnceLock<Channel> = OnceLock::new();

/// Whether [`ready`] was called.
static WAS_READY: AtomicBool = AtomicBool::new(false);

/// The channel to systemd, opened by the first call; `None` without `NOTIFY_SOCKET`. Fails when that is not an
/// address, or descriptors have run out.
pub(crate) fn systemd() -> io::Result<Option<&'static Channel>> {
    if let Some(channel) = SYSTEMD.get() {
        return Ok(Some(channel));
    }
    let channel = Channel::of_environment()?;
    Ok(channel.map(|channel| SYSTEMD.get_or_init(|| channel)))
}

/// How often to ping the watchdog: half of `WatchdogSec=`, see sd_watchdog_enabled(3). `None` without one.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Sends a message, and waits until there is room for it.
fn send(states: &[NotifyState<'_>]) {
    // An error would not help: without systemd there is no recipient, and systemd itself notices.
    match send_with(states, &[]) {
        Ok(()) | Err(StoreError::NoManager) => {}
        Err(error) => tracing::debug!(ERROR = %error, "{error}"),
    }
}

fn send_with(states: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) -> Result<(), StoreError> {
    manager()?
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

/// Sends a message without waiting. Returns false if sending it later may succeed.
fn offer(channel: io::Result<Option<&Channel>>, states: &[NotifyState<'_>]) -> bool {
    let result = match channel {
        Ok(None) => return true,
        Ok(Some(channel)) => channel.send(&message(states), &[], SendFlags::DONTWAIT),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => true,
        Err(error) if is_passing(&error) => false,
        Err(error) => {
            tracing::debug!(ERROR = %error, "systemd cannot be notified: {error}");
            true
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock) || is_exhausted(error)
}

/// `READY=1`: a client that connects now is served.
pub fn ready(status: &str) {
    WAS_READY.store(true, Relaxed);
    send(&[NotifyState::Ready, NotifyState::Status(&sentence(status))]);
}

/// Whether [`ready`] was called: the start has succeeded.
pub(super) fn was_ready() -> bool {
    WAS_READY.load(Relaxed)
}

/// The sentence of `systemctl status`. Does not wait; returns false if it must be sent again later.
pub fn status(status: &str) -> bool {
    // A line break in it would begin another message, sd_notify(3).
    offer(systemd(), &[NotifyState::Status(&sentence(status))])
}

/// `RELOADING=1`; [`ready`] follows. Since systemd 253 it needs the time of the monotonic clock.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    send(&states);
}

/// `STOPPING=1`: the end has begun. Does not wait: systemd notices the end itself.
pub fn stopping(status: &str) {
    let status = sentence(status);
    offer(
        systemd(),
        &[NotifyState::Stopping, NotifyState::Status(&status)],
    );
}

/// Asks for `by` more time to stop, from now on. Does not wait: the caller asks again and again.
pub fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    offer(systemd(), &[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Pings the watchdog. Does not wait; returns false if it must be sent again later.
pub fn watchdog() -> bool {
    offer(systemd(), &[NotifyState::Watchdog])
}

/// Why systemd does not keep descriptors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no systemd.
    #[error("NOTIFY_SOCKET is not set")]
    NoManager,
    /// The message could not be sent.
    #[error("systemd cannot be notified: {0}")]
    Unreached(#[source] io::Error),
    /// It did not answer in time.
    #[error("systemd does not answer")]
    NoAnswer,
}

/// Whether `NOTIFY_SOCKET` is systemd's own, by its fixed name: others understand only a part.
pub fn is_systemd() -> bool {
    std::env::var_os("NOTIFY_SOCKET")
        .is_some_and(|path| std::path::Path::new(&path).ends_with("systemd/notify"))
}

/// Puts descriptors into systemd's store, from which the next process gets them under this name: all of them or, if
/// this process dies right now, none; also those whose other end is closed (`FDPOLL=0`). systemd silently closes
/// those above `FileDescriptorStoreMax=`. Fails when it cannot be notified.
pub(crate) fn store(name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), StoreError> {
    let unwatched = NotifyState::Custom("FDPOLL=0");
    let states = [NotifyState::FdStore, NotifyState::FdName(name), unwatched];
    send_with(&states, descriptors)
}

/// Makes systemd close what it has stored under this name. Fails when systemd cannot be notified.
pub(crate) fn unstore(name: &str) -> Result<(), StoreError> {
    let states = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
    send_with(&states, &[])
}

/// Waits until systemd has processed every message before (`BARRIER=1`, sd_notify(3)). Fails when systemd cannot be
/// notified, or does not answer within `limit`.
pub(crate) fn barrier(limit: Duration) -> Result<(), StoreError> {
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
            assert_eq!(!offer(channel, &[NotifyState::Watchdog]), again, "{number}");
        }
    }

    #[test]
    fn an_offer_does_not_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let channel = Channel::to(path.as_os_str().as_bytes()).unwrap();
        let offer = |text: &str| offer(Ok(Some(&channel)), &[NotifyState::Status(&sentence(text))]);
        let count = (0..100_000).take_while(|_| offer("busy\n")).count();
        assert!(count < 100_000, "the queue has a limit");
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], br"STATUS=busy\n");
        assert!(offer("there is room again"));
        drop(systemd);
        assert!(offer("the recipient is gone for good"));
    }
}
