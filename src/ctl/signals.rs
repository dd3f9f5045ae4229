//! The signals that ask a program to end.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::failure::Failure;

/// SIGINT, SIGTERM and SIGHUP, caught from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn catch() -> Result<Self, Failure> {
        let catch = || -> io::Result<Self> {
            Ok(Self {
                interrupt: unix::signal(SignalKind::interrupt())?,
                terminate: unix::signal(SignalKind::terminate())?,
                hangup: unix::signal(SignalKind::hangup())?,
            })
        };
        let what = "signals cannot be caught";
        catch().map_err(|error| Failure::System { what, error })
    }

    /// Waits for the next of them. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}
