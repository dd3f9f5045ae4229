//! What is said to the gate, and what it says.

use std::io;
use std::time::Duration;

use crate::interface::LeaseEnd;
use crate::service::clock::Uptime;

/// A lock, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRecord {
    /// Why, for people.
    pub reason: Option<String>,
    /// Since when: microseconds since 1970, for people.
    pub since_usec: u64,
    /// When the lock is over.
    pub lease_until: Option<Uptime>,
    /// What happens then.
    pub at_lease_end: LeaseEnd,
    /// Whether the lock stays without a caller. One that does not belongs to the callers that wait
    /// for its drain, and goes with the last of them.
    pub kept: bool,
}

/// Where the lock is written down.
pub trait LockStore {
    /// Makes `lock` what the next process finds (`None`: no lock), as a whole or not at all.
    ///
    /// # Errors
    ///
    /// When it could not be written; the next process then finds what was there before.
    fn save(&mut self, lock: Option<&LockRecord>) -> io::Result<()>;
}

/// Somebody who called `Lock` and is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// How a caller takes part in a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It has its answer at once; the lock stays until somebody unlocks.
    AtOnce,
    /// It waits for the drain; from then on the lock stays until somebody unlocks.
    Wait,
    /// The lock lasts as long as the caller does.
    Hold,
}

/// What a caller of `Lock` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// How it takes part.
    pub mode: Mode,
    /// Why, for people.
    pub reason: Option<String>,
    /// The time of day, microseconds since 1970.
    pub realtime_usec: u64,
    /// Give up when the drain takes longer.
    pub timeout: Option<Duration>,
    /// Give up when nobody has left for so long.
    pub progress_timeout: Option<Duration>,
    /// The longest time the lock may last.
    pub lease: Option<Duration>,
    /// What is to happen at the end of the lease; `None`: what was said before, or else the gate
    /// opens.
    pub at_lease_end: Option<LeaseEnd>,
    /// Close by force what is still open after this time.
    pub force_after: Option<Duration>,
}

/// How the wait of a caller ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody is connected any more, and the lock stays.
    Drained,
    /// The drain took longer than the caller wanted to wait.
    TimedOut {
        /// Connections that were open then; others may have come since.
        open: usize,
    },
    /// Nobody left for longer than the caller wanted to wait for that.
    Stalled {
        /// Connections that were open then; others may have come since.
        open: usize,
    },
    /// The gate was opened, for this reason.
    Unlocked(Opened),
    /// The lease ran out, and with it the proxy ends.
    Ended,
    /// The drain is complete, but it could not be written down that the lock stays.
    NotSaved(String),
}

/// Why the gate opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Somebody called `Unlock`.
    Asked,
    /// The lease ran out.
    Lease,
    /// The last caller the lock belonged to has gone, or gave up waiting, before the drain was complete.
    NoCaller,
    /// The last caller that held the lock has gone, after the drain.
    Holder,
}

/// Something that happened, to be logged and acted on by the shell around the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The gate has closed.
    Locked,
    /// It is closed, and nobody is connected any more.
    Drained,
    /// It has opened.
    Opened(Opened),
    /// The lease has run out; the gate stays closed and the process is to end.
    Ended,
    /// Close by force what is still open.
    Force,
    /// The gate has opened, but the record of the lock could not be removed: a restart would lock
    /// it again.
    RecordLeft(String),
}
