//! All open connections: listing, counting and ending them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::abort::Abort;
use super::connection::Connection;
use super::sources::Sources;
use super::sweep::Sweep;
use super::unanswered::{CarriedBytes, Unanswered};
use crate::interface::ConnectionStatus;
use crate::proxy::keep::{Keep, Slot};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::listener::Arrival;
use crate::service::mutex;

/// Connections that are to be cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Slots of connections that were handed over.
    pub slots: Vec<u32>,
    /// Whether any of the others is to be cut.
    pub relayed: bool,
    /// Whether all are, so that the predecessor cuts its connections too.
    pub is_of_all: bool,
}

/// All open connections, in the order in which they were accepted. Totals are since the process began.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    sources: Option<Mutex<Sources>>,
    accepted: AtomicU64,
    last_id: AtomicU64,
    /// Of connections that have ended.
    received: AtomicU64,
    sent: AtomicU64,
    /// Ended because they were idle, since the last drain began.
    pub closed_idle: AtomicU64,
    /// Requests that were sent once more, because their upstream had ended before the first byte of the reply.
    pub repeated: AtomicU64,
    /// Whether all connections were ended for the successor. Then clients that the predecessor has passed on are too.
    are_over: AtomicBool,
    cuts: Mutex<Cuts>,
    has_cuts: Notify,
}

impl Connections {
    pub fn new(most_of_one_source: Option<usize>) -> Self {
        Self {
            sources: most_of_one_source.map(|most| Mutex::new(Sources::new(most))),
            ..Self::default()
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        mutex::lock(&self.open)
    }

    /// The sources, if there is a limit for each.
    pub fn sources(&self) -> Option<MutexGuard<'_, Sources>> {
        self.sources.as_ref().map(mutex::lock)
    }

    /// Adds a client that was just accepted.
    pub fn add(&self, client: Arrival, slot: Option<Slot>) -> Arc<Connection> {
        let now = Uptime::now();
        self.accepted.fetch_add(1, Relaxed);
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        if let Some(slot) = slot {
            slot.describe(id, now);
            slot.set_client(client.socket.as_fd());
        }
        self.insert(Connection::new(id, client, slot, now))
    }

    /// Adds a connection of an earlier process, as its slot describes it.
    pub fn restore(&self, client: Arrival, slot: Slot) -> Arc<Connection> {
        let (id, since) = (slot.id(), slot.accepted_at());
        if id == 0 {
            // That process was killed before it could number it.
            return self.add(client, Some(slot));
        }
        self.last_id.fetch_max(id, Relaxed);
        let connection = self.insert(Connection::new(id, client, Some(slot), since));
        connection.continue_from(slot);
        connection
    }

    /// Adds a client that another process has accepted, as that describes it. It gets another number. It is to be ended
    /// at once if all were ended for the successor.
    pub fn adopt(
        &self,
        client: Arrival,
        slot: Option<Slot>,
        status: &ConnectionStatus,
    ) -> Arc<Connection> {
        let now = Uptime::now().as_micros();
        let [since, active] = [status.age_usec, status.idle_usec]
            .map(|age| Uptime::from_micros(now.saturating_sub(age)));
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        if let Some(slot) = slot {
            slot.describe(id, since);
            slot.set_client(client.socket.as_fd());
        }
        let connection = Connection::new(id, client, slot, since);
        connection.continue_as((status.received_bytes, status.sent_bytes), active);
        let connection = self.insert(connection);
        // Either `abort_all` finds it, or this is known here.
        if self.are_over.load(Relaxed) {
            self.end(&connection, Abort::Successor);
        }
        connection
    }

    fn insert(&self, connection: Connection) -> Arc<Connection> {
        if let Some(mut sources) = self.sources() {
            sources.add(&connection.peer);
        }
        let connection = Arc::new(connection);
        self.open().insert(connection.id, Arc::clone(&connection));
        connection
    }

    /// Removes a connection that is about to be closed.
    pub fn remove(&self, connection: &Connection) {
        let (received, sent) = connection.carried();
        self.received.fetch_add(received, Relaxed);
        self.sent.fetch_add(sent, Relaxed);
        if let Some(mut sources) = self.sources() {
            sources.remove(&connection.peer);
        }
        self.open().remove(&connection.id);
    }

    /// Clients refused because their source had too many connections.
    pub fn refused(&self) -> u64 {
        self.sources().map_or(0, |sources| sources.refused)
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Bytes from clients and bytes to them.
    pub fn carried(&self) -> CarriedBytes {
        let open = self.open();
        let ended = (self.received.load(Relaxed), self.sent.load(Relaxed));
        let carried = open.values().map(|connection| connection.carried());
        carried.fold(ended, |total, one| (total.0 + one.0, total.1 + one.1))
    }

    /// How many wait for an upstream.
    pub fn connecting(&self) -> usize {
        let open = self.open();
        open.values().filter(|open| open.is_connecting()).count()
    }

    pub fn list(&self, now: Uptime) -> Vec<ConnectionStatus> {
        let open = self.open();
        open.values()
            .map(|connection| connection.status(now))
            .collect()
    }

    /// Parks the sockets that only this process has.
    pub fn park_all(&self, keep: Keep) {
        for connection in self.open().values() {
            if let Some(slot) = connection.slot.filter(|slot| !slot.is_parked()) {
                keep.park_again(slot, connection.client.as_fd());
            }
        }
    }

    /// Keeps all sockets open until the very end of the process.
    pub fn stay_open(&self) {
        std::mem::forget(self.open().clone());
    }

    /// Ends connection `id`. Returns whether there is one.
    pub fn abort(&self, id: u64, why: Abort) -> bool {
        let open = self.open();
        let found = open.get(&id);
        found.map(|connection| self.end(connection, why)).is_some()
    }

    /// Ends all of them, and those of the predecessor. A drain does not wait for detached clients, so none of them is
    /// forced out.
    pub fn abort_all(&self, why: Abort) {
        if why == Abort::Successor {
            self.are_over.store(true, Relaxed);
        }
        self.end_if(|connection| {
            let stays = why == Abort::Forced && connection.is_detached();
            (!stays).then_some(why)
        });
        self.cut(|cuts| cuts.is_of_all = true);
    }

    /// Ends connections to other targets than `target` that were never answered, as far as they take places
    /// from others; `most` is the number of places.
    pub fn abort_unanswered(&self, target: &Address, most: usize) {
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

    /// Ends the connections that have reached a limit. Returns when the next sweep is due; `None` without a
    /// limit, or while no connection is open.
    pub fn sweep(&self, sweep: &Sweep, now: Uptime) -> Option<Uptime> {
        if self.open().is_empty() {
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
            None => self.cut(|cuts| cuts.relayed = true),
        }
    }

    /// Requests that the connection of a handover slot be cut.
    pub fn cut_later(&self, slot: u32) {
        self.cut(|cuts| cuts.slots.push(slot));
    }

    fn cut(&self, add: impl FnOnce(&mut Cuts)) {
        add(&mut mutex::lock(&self.cuts));
        self.has_cuts.notify_one();
    }

    /// Waits for connections that are to be cut. Cancel safe.
    pub async fn to_cut(&self) -> Cuts {
        loop {
            let cuts = std::mem::take(&mut *mutex::lock(&self.cuts));
            if cuts != Cuts::default() {
                return cuts;
            }
            self.has_cuts.notified().await;
        }
    }
}
