//! The open connections: who they are, how much they carried, and how to end one.

mod connection;
mod liveness;
pub mod log;
mod served_elsewhere;
mod sources;
mod stall;
mod sweep;
mod unanswered;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use connection::{Abort, Connection, Metered, Side};
pub use sources::Source;
use sources::Sources;
pub use sweep::Sweep;
use unanswered::Unanswered;

use super::keep::{Keep, Slot};
use crate::interface::ConnectionStatus;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::listener::{Arrival, Peer};

/// Connections that are to be cut.
#[derive(Debug, Default)]
pub struct Cuts {
    /// Slots of those that were handed over.
    pub slots: Vec<u32>,
    /// Whether there are others.
    pub relayed: bool,
    /// Whether it is all of them, so that those of the process that was taken over are to end too.
    pub is_of_all: bool,
}

/// All open connections, in the order in which they were accepted.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// Counted by source, and the most of each.
    sources: Option<(usize, Mutex<Sources>)>,
    accepted: AtomicU64,
    last_id: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// Connections that are to end.
    cuts: Mutex<Cuts>,
    has_cuts: Notify,
}

impl Connections {
    /// None is open. At most so many will be of one source, if there is such a limit.
    pub fn new(most_of_one: Option<usize>) -> Self {
        Self {
            sources: most_of_one.map(|most| (most, Mutex::default())),
            ..Self::default()
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        // Nobody panics while holding it; if somebody does, the map is still whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that was just accepted.
    pub fn add(&self, client: Arrival, slot: Option<Slot>) -> Arc<Connection> {
        let now = Uptime::now();
        self.accepted.fetch_add(1, Relaxed);
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        if let Some(slot) = slot {
            slot.describe(id, now);
            slot.accepted_client(client.socket.as_fd());
        }
        self.insert(id, client, slot, now)
    }

    /// A connection that another process has left, as it is written down.
    pub(super) fn restore(&self, client: Arrival, slot: Slot) -> Arc<Connection> {
        let (id, since) = (slot.id(), slot.accepted());
        if id == 0 {
            // That process was killed before it could number it.
            return self.add(client, Some(slot));
        }
        self.last_id.fetch_max(id, Relaxed);
        let connection = self.insert(id, client, Some(slot), since);
        connection.has_carried(slot);
        connection
    }

    fn insert(
        &self,
        id: u64,
        client: Arrival,
        slot: Option<Slot>,
        since: Uptime,
    ) -> Arc<Connection> {
        self.count(&client.peer, Sources::add);
        let connection = Arc::new(Connection::new(id, client, slot, since));
        self.open().insert(id, Arc::clone(&connection));
        connection
    }

    /// A connection that is about to be closed.
    pub fn remove(&self, connection: &Connection) {
        let (received, sent) = connection.carried();
        self.received.fetch_add(received, Relaxed);
        self.sent.fetch_add(sent, Relaxed);
        self.count(&connection.peer, Sources::remove);
        self.open().remove(&connection.id);
    }

    fn count(&self, peer: &Peer, act: impl FnOnce(&mut Sources, Source)) {
        if let (Some((_, sources)), Some(source)) = (&self.sources, Source::of(peer)) {
            let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            act(&mut sources, source);
        }
    }

    /// The source of this client, and how many it has, if it has as many as it may.
    pub(super) fn full_source(&self, peer: &Peer) -> Option<(Source, usize)> {
        let most = self.sources.as_ref()?.0;
        let mut full = None;
        self.count(peer, |sources, source| {
            let open = sources.open(source);
            full = (open >= most).then_some((source, open));
        });
        full
    }

    /// A client was refused because its source has as many as it may; how many were since the last
    /// time that somebody was told, if it is time to tell again.
    pub(super) fn refuse(&self, now: Uptime) -> Option<u64> {
        let (_, sources) = self.sources.as_ref()?;
        let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.refuse(now)
    }

    /// Clients refused since the process began.
    pub fn refused(&self) -> u64 {
        let Some((_, sources)) = &self.sources else {
            return 0;
        };
        let sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.refused()
    }

    /// Connections accepted since the process began.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Bytes from and to clients since the process began.
    pub fn carried(&self) -> (u64, u64) {
        let open = self.open();
        open.values().map(|connection| connection.carried()).fold(
            (self.received.load(Relaxed), self.sent.load(Relaxed)),
            |total, one| (total.0 + one.0, total.1 + one.1),
        )
    }

    /// What is to be said of each.
    pub fn list(&self, now: Uptime) -> Vec<ConnectionStatus> {
        self.open()
            .values()
            .map(|connection| connection.status(now))
            .collect()
    }

    /// Parks those of which only this process has the sockets.
    pub(super) fn park_all(&self, keep: Keep) {
        for connection in self.open().values() {
            if let Some(slot) = connection.slot
                && !slot.is_parked()
            {
                keep.park_again(slot, connection.client.as_fd());
            }
        }
    }

    /// Keeps the sockets of all of them open until the very end of the process.
    pub(super) fn stay_open(&self) {
        let open: Vec<Arc<Connection>> = self.open().values().cloned().collect();
        std::mem::forget(open);
    }

    /// Ends one; whether there is such a one.
    pub fn abort(&self, id: u64, why: Abort) -> bool {
        let open = self.open();
        let Some(connection) = open.get(&id) else {
            return false;
        };
        self.end(connection, why);
        true
    }

    /// Ends all of them.
    pub fn abort_all(&self, why: Abort) {
        self.end_if(|_| Some(why));
        self.cuts().is_of_all = true;
        self.has_cuts.notify_one();
    }

    /// Whether no connection is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    /// Ends those that lead to another target than this and were never answered, as far as they take places
    /// from others. `most` may be open.
    pub(super) fn abort_unanswered(&self, target: &Address, most: usize) {
        let elsewhere = |connection: &Connection| {
            let is_elsewhere = connection.leads_elsewhere(target);
            is_elsewhere.then(|| connection.carried())
        };
        let unanswered = {
            let open = self.open();
            let carried = open.values().filter_map(|connection| elsewhere(connection));
            Unanswered::of(carried, most)
        };
        self.end_if(|connection| {
            let carried = elsewhere(connection)?;
            unanswered.contains(carried).then_some(Abort::Unanswered)
        });
    }

    /// Ends the connections that have lasted too long. Returns when to look again; `None` without a limit,
    /// or while no connection is open.
    pub fn sweep(&self, sweep: &Sweep, now: Uptime) -> Option<Uptime> {
        if self.is_empty() {
            return None;
        }
        let (is_due, next) = sweep.is_due(now)?;
        if is_due {
            self.end_if(|connection| sweep.verdict(connection, now));
        }
        Some(next)
    }

    fn end_if(&self, why: impl Fn(&Connection) -> Option<Abort>) {
        for connection in self.open().values() {
            if let Some(why) = why(connection) {
                self.end(connection, why);
            }
        }
    }

    fn end(&self, connection: &Connection, why: Abort) {
        match connection.abort(why) {
            Some(slot) => self.cut_later(slot),
            None => {
                self.cuts().relayed = true;
                self.has_cuts.notify_one();
            }
        }
    }

    /// The connection of this slot is to be cut.
    pub(super) fn cut_later(&self, slot: u32) {
        self.cuts().slots.push(slot);
        self.has_cuts.notify_one();
    }

    /// Waits for connections that are to be cut. Cancel safe.
    pub async fn to_cut(&self) -> Cuts {
        loop {
            let cuts = std::mem::take(&mut *self.cuts());
            if cuts.relayed || cuts.is_of_all || !cuts.slots.is_empty() {
                return cuts;
            }
            self.has_cuts.notified().await;
        }
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
