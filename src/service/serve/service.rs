//! What [`super::serve`] needs to know of a service, and what it does for it.

use std::io;
use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::listener::{Accepted, Listener};
use crate::service::program::Failure;

/// What became of the attempt to let a client in.
#[derive(Debug)]
pub enum Admission<C> {
    /// It is in, and counted until the value is dropped.
    Client(C),
    /// No client may be accepted now.
    Closed,
    /// A client was accepted that had gone already.
    Gone,
    /// Nobody waits.
    Nobody,
    /// No descriptors or memory are left.
    Exhausted(io::Error),
}

/// What [`super::serve`] needs to know of a service.
pub trait Service: Send + Sync + 'static {
    /// One open connection. It is counted by [`Self::open`] until it is dropped.
    type Connection: Send + 'static;

    /// Whether [`Self::admit`] would let a client in.
    fn may_accept(&self) -> bool;

    /// Whether the service has threads of its own that accept: then [`Self::admit`] is not called.
    fn accepts_elsewhere(&self) -> bool {
        false
    }

    /// Has nobody accepted any more, by whomever, or has them accepted again: for the last look
    /// before the process ends for lack of use.
    fn rest(&self, rests: bool) {
        let _ = rests;
    }

    /// Why whoever accepts cannot go on, if that is so.
    fn failure(&self) -> Option<Failure> {
        None
    }

    /// Whether whoever accepts gives signs of life.
    fn is_alive(&self) -> bool {
        true
    }

    /// Lets one client in by calling `accept`, and counts it, as one step: nobody must be able to
    /// close the gate in between.
    ///
    /// # Errors
    ///
    /// Those of `accept`.
    fn admit(
        &self,
        accept: &mut dyn FnMut() -> io::Result<Accepted>,
    ) -> io::Result<Admission<Self::Connection>>;

    /// Serves one client to the end.
    fn handle(connection: Self::Connection) -> impl Future<Output = ()> + Send + 'static;

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
