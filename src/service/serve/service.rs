//! What [`super::serve`] needs to know of a service, and what it does for it.

use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::program::Failure;

/// What [`super::serve`] needs to know of a service. Accepting clients is the service's own affair.
pub trait Service: Send + Sync + 'static {
    /// Whether a client that waits would be accepted.
    fn may_accept(&self) -> bool;

    /// Stops accepting clients, or begins again: for the last look before the process ends for lack of use.
    fn set_resting(&self, resting: bool);

    /// Why no client can be accepted any more, if that is so.
    fn failure(&self) -> Option<Failure>;

    /// Whether the part of the service that accepts gives signs of life.
    fn is_alive(&self) -> bool {
        true
    }

    /// The number of open connections.
    fn open(&self) -> usize;

    /// Whether anybody uses the service now, so that it must not end for lack of use.
    fn in_use(&self) -> bool {
        self.open() > 0
    }

    /// A last look before the process ends for lack of use: whether nobody is waiting to be heard
    /// in any other way than as a client.
    fn may_exit(&self) -> bool {
        true
    }

    /// Waits until [`Self::may_accept`], [`Self::in_use`], [`Self::open`] or the time that
    /// [`Self::tick`] asked for may have changed. A change that happened before the call counts.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Does what is due, and tells when to be called again.
    fn tick(&self, now: Uptime) -> Option<Uptime> {
        let _ = now;
        None
    }

    /// The sentence for `systemctl status`.
    fn status(&self, listeners: &[Listener]) -> String;

    /// Reads the configuration again (SIGHUP); `None` if there is nothing to read.
    fn reload(&self) -> Option<Result<(), Failure>> {
        None
    }

    /// Whether open connections go on without the process, so that it need not wait for their end when
    /// it is told to stop.
    fn leaves(&self) -> bool {
        false
    }

    /// Whether the service wants to end by itself, as if it had been told to stop.
    fn wants_to_end(&self) -> bool {
        false
    }

    /// Whether the listeners are another process's now. It means that the service wants to end.
    fn has_handed_over(&self) -> bool {
        false
    }

    /// The end has begun: no client is accepted any more.
    fn stopping(&self) {}
}

/// How a service runs and ends.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// End after so long without use, if the listeners live on without us. `None`: never.
    pub exit_idle_time: Option<Duration>,
    /// After SIGTERM, open connections may go on for so long. `None`: as long as they want.
    pub drain_timeout: Option<Duration>,
}
