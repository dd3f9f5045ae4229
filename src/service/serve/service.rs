//! What [`serve`](super::serve) needs of a service.

use std::time::Duration;

use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::program::Failure;

/// What [`serve`](super::serve) needs of a service. Accepting clients is up to the service.
pub trait Service: Send + Sync + 'static {
    /// Whether a client that waits would be accepted.
    fn may_accept(&self) -> bool;

    /// Stops accepting clients, or begins again: for the last look before an idle exit.
    fn set_resting(&self, resting: bool);

    /// Why no client can be accepted any more, if so.
    fn failure(&self) -> Option<Failure>;

    /// Whether the thread that accepts is alive.
    fn is_alive(&self) -> bool {
        true
    }

    /// The number of open connections, which a drain waits for.
    fn open(&self) -> usize;

    /// The number of connected clients: also of those that a drain does not wait for.
    fn connected(&self) -> usize {
        self.open()
    }

    /// Whether the service is in use, which prevents an idle exit.
    fn in_use(&self) -> bool {
        self.connected() > 0
    }

    /// Whether none but clients wait: for the last look before an idle exit.
    fn may_exit(&self) -> bool {
        true
    }

    /// Waits until [`Self::may_accept`], [`Self::in_use`], [`Self::open`] or the time that [`Self::tick`] returned
    /// may have changed. A change before the call counts.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Does what is due. Returns when to call it again.
    fn tick(&self, now: Uptime) -> Option<Uptime> {
        let _ = now;
        None
    }

    /// The sentence for `systemctl status`.
    fn status(&self, listeners: &[Listener]) -> String;

    /// Reads the configuration again (SIGHUP); `None` if there is none.
    fn reload(&self) -> Option<Result<(), Failure>> {
        None
    }

    /// Whether open connections continue without the process, so that it stops without a drain.
    fn leaves(&self) -> bool {
        false
    }

    /// Whether the service wants to end by itself, with a drain.
    fn wants_to_end(&self) -> bool {
        false
    }

    /// Whether the listeners belong to another process now. Then the service wants to end.
    fn is_retired(&self) -> bool {
        false
    }

    /// The end has begun: no client is accepted any more.
    fn stopping(&self) {}
}

/// How long a service runs.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// How long without use until it ends, if all listeners are inherited. `None`: never.
    pub exit_idle_time: Option<Duration>,
    /// How long open connections may continue after SIGTERM. `None`: as long as they want.
    pub drain_timeout: Option<Duration>,
}
