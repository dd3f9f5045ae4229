//! The object that connections are kept with.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Release;
use std::sync::{Mutex, MutexGuard};

use super::error::KeepError;
use super::parking::lots::Lots;
use super::parking::queue::SocketPair;
use super::parking::{ParkedPipe, Parking};
use super::store;
use super::table::Buffers;
use super::table::layout::{Header, LEFT, OVER};
use super::will::{Heir, Testament};
use crate::service::activation::Inherited;
use crate::service::clock::Uptime;
use crate::service::mutex;

/// What connections are kept with: first of all, where they are parked. A copy is the same object.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub(super) core: &'static Core,
}

/// Lives as long as the process.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) parking: Parking,
    pub(super) buffers: Buffers,
    pub(super) buffer_file: OwnedFd,
    /// The end that the will sends to, and the one that is received from.
    pub(super) will_queue: SocketPair,
    pub(super) testament: Mutex<Testament>,
}

impl Core {
    pub(super) fn leak(self) -> Keep {
        let core = Box::leak(Box::new(self));
        Keep { core }
    }

    /// Everything that is in the store.
    pub(super) fn parts<'a>(&'a self, lots: &'a Lots) -> Vec<BorrowedFd<'a>> {
        let mut parts = vec![self.parking.table.file(), self.buffer_file.as_fd()];
        parts.extend(lots.parts());
        parts.extend(self.will_queue.iter().map(AsFd::as_fd));
        parts
    }
}

impl Deref for Keep {
    type Target = Parking;

    fn deref(&self) -> &Parking {
        &self.core.parking
    }
}

impl Keep {
    /// The process serves from now on: if it is killed, it may have an heir.
    pub fn serves(self) {
        let now = Uptime::now().as_micros();
        self.header().serves_since.store(now, Release);
    }

    /// The most connections that are kept at a time: fewer than the options say if this process may have
    /// few descriptors (`RLIMIT_NOFILE`), which limits those in flight.
    pub fn connections(self) -> u32 {
        self.budget.connections
    }

    /// Memory for bytes in hand.
    pub fn buffers(self) -> &'static Buffers {
        &self.core.buffers
    }

    /// Parks an empty pipe. `None` if there is no room; then nothing may be spliced for connections
    /// that are kept.
    pub fn pipe(self, read: OwnedFd, write: OwnedFd) -> Option<ParkedPipe> {
        self.core.parking.pipe(read, write)
    }

    /// A will that is made from now on starts the next process when this one is killed, with these
    /// sockets, which systemd has passed to this one.
    pub(super) fn provide_heir(self, sockets: Vec<Inherited>) -> io::Result<()> {
        let lots = self.lots();
        let heir = Heir::new(sockets, &self.core.parts(&lots))?;
        self.testament().provide_heir(heir);
        Ok(())
    }

    /// Makes the last will, if there is none, or if it has ended. The two processes share memory that
    /// neither of them changes.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow one more process, or no descriptor is left. Connections are kept
    /// all the same, except a client that is being accepted when this process is killed; and no will
    /// starts the next process.
    pub fn make_will(self) -> io::Result<()> {
        let queue = self.core.will_queue[0].as_fd();
        let table = &self.core.parking.table;
        self.testament().make_will(table, queue)
    }

    /// A descriptor that becomes readable when the last will ends; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn end_of_will(self) -> io::Result<Option<OwnedFd>> {
        self.testament().end_of_will()
    }

    /// The process is about to end, and the next one continues all connections. Nothing may be received or
    /// sent any more, and what is dropped from now on stays as it is. With `to_heir` the last will becomes
    /// that process, if it can.
    pub fn leave(self, to_heir: bool) {
        self.core.buffers.leave();
        let mut testament = self.testament();
        if to_heir && testament.has_heir() {
            self.header().orderly.store(LEFT, Release);
        } else {
            self.header().orderly.store(OVER, Release);
            testament.dismiss_will();
        }
    }

    /// The process is about to end, and there are no connections: nothing is kept.
    ///
    /// # Errors
    ///
    /// When systemd cannot be reached.
    pub fn forget(self) -> Result<(), KeepError> {
        self.leave(false);
        Ok(store::remove()?)
    }

    fn header(self) -> &'static Header {
        self.core.parking.table.header()
    }

    fn testament(self) -> MutexGuard<'static, Testament> {
        mutex::lock(&self.core.testament)
    }
}
