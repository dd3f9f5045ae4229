//! What goes into the gate, and what comes out.

use std::io;
use std::time::Duration;

use crate::interface::LeaseEnd;
pub use crate::interface::saved::LockRecord;

pub trait LockStore {
    /// Saves the lock (`None`: no lock) for the next process, as a whole or not at all.
    /// Fails if it could not be written; the next process then finds the old one.
    fn save(&mut self, lock: Option<&LockRecord>) -> io::Result<()>;
}

/// The number of a caller of `Lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// How a caller takes part in a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is answered at once; the lock stays until `Unlock`.
    AtOnce,
    /// It waits for the drain; after that the lock stays until `Unlock`.
    Wait,
    /// The lock ends when the caller does.
    Hold,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    pub mode: Mode,
    /// For people.
    pub reason: Option<String>,
    /// The time of day, in microseconds since 1970.
    pub realtime_usec: u64,
    /// How long the drain may take.
    pub timeout: Option<Duration>,
    /// How long the drain may last without a connection ending.
    pub progress_timeout: Option<Duration>,
    /// The longest time that the lock may last.
    pub lease: Option<Duration>,
    /// What happens at the end of the lease; `None` changes nothing, and the default is to open.
    pub at_lease_end: Option<LeaseEnd>,
    /// After which time the remaining connections are closed by force.
    pub force_after: Option<Duration>,
    /// After which idle time a connection is ended in order.
    pub close_idle: Option<Duration>,
}

/// When detached clients that speak get an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attaching {
    Now,
    /// Once the gate is open and has a target. Until then what they say waits in the kernel.
    Later,
    /// The process is about to end.
    Never,
}

/// How the wait of a caller ended. `open` is the number of connections that were open then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No connection is open, and the lock stays.
    Drained,
    TimedOut {
        open: usize,
    },
    Stalled {
        open: usize,
    },
    Unlocked(OpenReason),
    /// The lease is over, and the process ends with it.
    Ended,
    /// The drain is complete, but that the lock stays could not be saved, for this reason.
    NotSaved(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenReason {
    Unlock,
    /// The lease is over.
    Lease,
    /// The last caller that the lock belonged to left, or gave up, before the drain was complete.
    NoCaller,
    /// The last caller that held the lock left after the drain.
    Holder,
}

/// What has happened to the gate, for the code around it to log and to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Locked,
    /// The gate is closed, and no connection is open.
    Drained,
    Opened(OpenReason),
    /// The lease is over: the gate stays closed, and the process is to end.
    Ended,
    /// The remaining connections are to be closed by force.
    Force,
    /// The gate has opened, but the record of the lock could not be removed, for this reason: a restart
    /// would lock the gate again.
    RecordLeft(String),
}
