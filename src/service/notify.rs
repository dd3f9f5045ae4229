//! What systemd hears from us: sd_notify(3). Silent when nobody listens.
//!
//! Through `libsystemd`, which also reaches a `NOTIFY_SOCKET` in the abstract namespace.

use std::time::Duration;

use libsystemd::daemon::{self, NotifyState};

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

/// A client that comes now is served.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status.to_owned())]);
}

/// The sentence that `systemctl status` shows.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status.to_owned())]);
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
    send(&[
        NotifyState::Stopping,
        NotifyState::Status(status.to_owned()),
    ]);
}

/// The end takes so much longer, from now on.
pub fn extend_timeout(by: Duration) {
    send(&[NotifyState::Other(format!(
        "EXTEND_TIMEOUT_USEC={}",
        by.as_micros()
    ))]);
}

/// A sign of life.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}
