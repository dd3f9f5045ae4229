//! The signals that ask a program to end.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::failure::CtlFailure;

/// SIGINT, SIGTERM and SIGHUP, caught from the moment this exists.
pub struct TerminationSignals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl TerminationSignals {
    pub fn catch() -> Result<Self, CtlFailure> {
        let catch = |kind| {
            let what = "signals cannot be caught";
            unix::signal(kind).map_err(|error| CtlFailure::System { what, error })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}
