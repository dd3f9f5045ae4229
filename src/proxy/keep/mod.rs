//! Connections that outlive the process.
//!
//! What a connection is, is held by systemd: its sockets wait in the lot, bytes in hand in a pipe or a
//! memory file, and beside them a table says what belongs together. The next process finds all of that
//! in its store and goes on.
//!
//! - `lots`: where descriptors are parked; `message`: what is said of them there; `park`: parking;
//!   `recycle`: getting rid of what has ended; `places`: what is in which lot; `budget`: how many
//!   there may be; `unparked`: those for whom there was no room;
//! - `will`: the child that saves what was not parked yet; `testament`: whether there is one; `heir`: the
//!   process that it becomes;
//! - `layout`, `table`, `slot`: what is written down of every connection; `mapping`: the memory it is in;
//! - `buffers`, `pipes`: where bytes in hand are;
//! - [`account`], `counters`: what was under way when the process died (pure);
//! - `restore`: finding everything again; `strays`: clients that nobody had written down;
//! - `store`: what systemd keeps;
//! - `ends`: ending everything that an earlier process has left.
//!
//! # The order of things
//!
//! Whoever uses it gets nothing lost as long as it keeps to this:
//!
//! 1. A client is parked ([`Keep::park_client`]) before anything is received from it or sent to it.
//! 2. A client and its upstream are parked ([`Keep::park`]) before anything is received from either; at
//!    best before the upstream is connected ([`Keep::park_ahead`]).
//! 3. A pipe is parked ([`Keep::pipe`]) before it is filled.
//! 4. A receive and a send are written down before and after, one at a time ([`Flow`]). If one of the
//!    sockets is not of TCP, both are through a pipe: nobody else counts what was done.
//! 5. That a source's end is passed on is written down before the sink is shut down ([`Flow::finish`]).
//! 6. A connection that has come to its end is released ([`Keep::release`]) before its sockets are
//!    closed and before its buffer or pipe is given to another one; and both its sockets have been
//!    shut down before, or reset between [`Slot::ending`] and the release ([`crate::service::ending`]):
//!    closing one sends nothing while the lot has a copy.

pub mod account;
mod budget;
mod buffers;
mod counters;
mod ends;
mod heir;
mod layout;
mod lots;
mod mapping;
mod message;
mod park;
mod pipes;
mod places;
mod recycle;
mod restore;
mod slot;
mod store;
mod strays;
mod table;
mod testament;
mod unparked;
mod will;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

pub use buffers::{Buffer, Buffers};
pub use heir::heir_of;
pub use layout::{BUFFER, Phase};
pub use park::Pair;
pub use pipes::Pipe;
pub use restore::{GivenUp, InHand, Restored, RestoredFlow, Stage};
pub use slot::{Flow, Slot, Way};
pub use store::{NAME, separate};

use crate::service::activation::Inherited;
use crate::service::clock::Uptime;
use budget::Budget;
use layout::{LEFT, OVER};
use lots::Lots;
use places::Places;
use restore::Restoration;
use store::{Parts, Stored};
use table::Table;
use testament::Testament;

/// How much room there has to be, and whose clients they are.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Connections that are to be kept at a time; those beyond are not. (It may have to be fewer:
    /// [`Keep::connections`].)
    pub connections: u32,
    /// Buffers that are used at a time.
    pub buffers: u32,
    /// The sockets that clients connect to.
    pub listeners: Vec<BorrowedFd<'a>>,
    /// The last will has started this process, see [`heir_of`].
    pub is_heir: bool,
}

/// Why connections cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// systemd keeps no descriptors for this service.
    #[error("systemd does not keep enough descriptors (set FileDescriptorStoreMax= to 16 or more)")]
    Refused,
    /// It cannot be asked.
    #[error(transparent)]
    Store(#[from] crate::service::notify::StoreError),
    /// More connections are kept than this process may have descriptors for.
    #[error("too few descriptors for the connections that were kept (raise LimitNOFILE=)")]
    Descriptors,
    /// The kernel is too old.
    #[error("this kernel has no {0} (Linux 5.4 has it)")]
    Kernel(&'static str),
    /// The kernel.
    #[error("connections cannot be kept: {0}")]
    System(#[from] io::Error),
}

/// What [`start`] has made or found.
#[derive(Debug)]
pub struct Started {
    /// What connections are kept with.
    pub keep: Keep,
    /// Those that go on.
    pub restored: Vec<Restored>,
    /// Those that had to be ended.
    pub given_up: Vec<GivenUp>,
    /// So many sockets were reset that nobody can go on with: another version has left them.
    pub foreign: usize,
    /// Why the last will cannot start the next process, if it should.
    pub no_heir: Option<io::Error>,
    /// Why there is no last will: [`Keep::make_will`] tries it again.
    pub no_will: Option<io::Error>,
}

/// What connections are kept with. Copies are the same.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    core: &'static Core,
}

/// Lives as long as the process.
#[derive(Debug)]
struct Core {
    table: Table,
    buffers: Buffers,
    buffer_file: OwnedFd,
    lots: RwLock<Lots>,
    places: Places,
    /// Somebody could not be parked.
    has_unparked: AtomicBool,
    budget: Budget,
    /// Where the will sends to, and from where it is received.
    will_queue: lots::Pair,
    testament: Mutex<Testament>,
}

/// Takes what an earlier process has left, or makes everything and has systemd keep it. `stored` is
/// what systemd handed us under [`NAME`]. If the last will is to start the next process when this one is
/// killed, `respawn` are the sockets that systemd has handed to this one.
///
/// Call it once, before anybody is accepted; best before there are other threads, when the process has
/// little memory, for the last will holds on to what is there. It may be killed at any moment and done
/// again.
///
/// # Errors
///
/// When connections cannot be kept. Those that were kept before have been reset then and nothing is in the
/// store any more, but for [`KeepError::Descriptors`], after which another process can try.
pub fn start(
    stored: Vec<OwnedFd>,
    options: &Options<'_>,
    respawn: Option<Vec<Inherited>>,
) -> Result<Started, KeepError> {
    // Whatever goes wrong, they do not stay without an owner.
    let copies: Result<Vec<OwnedFd>, io::Error> = stored.iter().map(OwnedFd::try_clone).collect();
    let copies = copies.map_err(|_| KeepError::Descriptors)?;
    let started = go_on(stored, options, respawn);
    if !matches!(started, Ok(_) | Err(KeepError::Descriptors)) {
        discard(copies, options.is_heir);
    }
    started
}

fn go_on(
    stored: Vec<OwnedFd>,
    options: &Options<'_>,
    respawn: Option<Vec<Inherited>>,
) -> Result<Started, KeepError> {
    will::is_possible()?;
    mapping::fail_beyond_the_size_limit();
    let (core, foreign, found) = match store::recognise(stored, options) {
        Stored::Nothing => (create(options)?, 0, false),
        Stored::Foreign(descriptors) => {
            let count = discard(descriptors, options.is_heir);
            (create(options)?, count, false)
        }
        Stored::Ours(parts, others) => {
            let count = ends::reset_all(&others);
            (adopt(*parts, options)?, count, true)
        }
    };
    let core: &'static Core = Box::leak(Box::new(core));
    let keep = Keep { core };
    let restoration = match found {
        true => Restoration::of(keep, options)?,
        false => Restoration::default(),
    };
    let no_heir = respawn.and_then(|sockets| keep.provide_heir(sockets).err());
    Ok(Started {
        keep,
        restored: restoration.restored,
        given_up: restoration.given_up,
        foreign,
        no_heir,
        no_will: keep.make_will().err(),
    })
}

/// Ends everything that an earlier process has left, also to its heir: for one that does not keep
/// connections. Returns how many sockets were reset.
pub fn discard(stored: Vec<OwnedFd>, is_heir: bool) -> usize {
    let left_open = match is_heir {
        true => heir::reset_left_open(heir::open_numbers()),
        false => 0,
    };
    if stored.is_empty() {
        return left_open;
    }
    let count = ends::reset_all(&stored);
    if let Err(error) = store::remove() {
        // The next process finds it, and that nothing is in there.
        tracing::debug!(ERROR = %error, "the store cannot be cleared: {error}");
    }
    left_open + count
}

fn create(options: &Options<'_>) -> Result<Core, KeepError> {
    let core = adopt(Parts::new(options)?, options)?;
    store::put(&core)?;
    Ok(core)
}

fn adopt(parts: Parts, options: &Options<'_>) -> Result<Core, KeepError> {
    let Parts {
        mut table,
        buffers,
        lots,
        will,
    } = parts;
    let budget = Budget::of_process(options.connections);
    table.allow(budget.connections, budget.pipes);
    Ok(Core {
        buffers: Buffers::shared(buffers.as_fd(), table.buffers())?,
        buffer_file: buffers,
        places: Places::new(table.slots()),
        has_unparked: AtomicBool::new(false),
        table,
        lots: RwLock::new(Lots::new(lots, budget)),
        budget,
        will_queue: will,
        testament: Mutex::default(),
    })
}

impl Core {
    /// Everything that is in the store.
    fn parts<'a>(&'a self, lots: &'a Lots) -> Vec<BorrowedFd<'a>> {
        let mut parts = vec![self.table.file(), self.buffer_file.as_fd()];
        parts.extend(lots.parts());
        parts.extend(self.will_queue.iter().map(AsFd::as_fd));
        parts
    }
}

impl Keep {
    /// The process serves from now on: if it is killed, it may have an heir.
    pub fn serves(self) {
        let now = Uptime::now().as_micros();
        self.core.table.header().serves_since.store(now, Release);
    }

    /// A slot for a client; `None` if there is none left, and then it is not kept.
    pub fn claim(self) -> Option<Slot> {
        let Some(index) = self.core.table.claim() else {
            self.core.table.header().crowded.store(1, Release);
            return None;
        };
        let slot = Slot::new(self.core.table.slot(index)?, index);
        for way in Way::BOTH {
            slot.flow(way).clear();
        }
        Some(slot)
    }

    /// So many connections can be kept at a time. Fewer than was asked for, if this process may have
    /// only few descriptors (`RLIMIT_NOFILE`): no more may be on their way in sockets.
    pub fn connections(self) -> u32 {
        self.core.budget.connections
    }

    /// Memory for bytes in hand.
    pub fn buffers(self) -> &'static Buffers {
        &self.core.buffers
    }

    /// The process is about to end, and the next one goes on with all connections. Nothing may be
    /// received or sent any more, and what is dropped from now on stays as it is. With `to_heir` the last
    /// will becomes that process, if it can.
    pub fn leave(self, to_heir: bool) {
        self.core.buffers.leave();
        match to_heir && lock(&self.core.testament).has_heir() {
            true => self.core.table.header().orderly.store(LEFT, Release),
            false => self.dismiss(),
        }
    }

    /// The process is about to end, and there are no connections: nothing is kept.
    ///
    /// # Errors
    ///
    /// When systemd cannot be told.
    pub fn forget(self) -> Result<(), KeepError> {
        self.leave(false);
        Ok(store::remove()?)
    }

    fn dismiss(self) {
        self.core.table.header().orderly.store(OVER, Release);
        self.dismiss_will();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
