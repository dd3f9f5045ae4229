//! The connections that one thread carries.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use slab::Slab;

use super::carried_connection::CarriedConnection;
use super::handle::WorkerHandle;
use super::token::{CLIENT, GENERATIONS, UPSTREAM, key_and_generation, token};
use crate::proxy::admission::{Connections, log};
use crate::proxy::keep::Slot;
use crate::proxy::relay::WATCHED;
use crate::proxy::route::Route;
use crate::service::clock::Uptime;
use crate::service::ending;

/// The connections that one thread carries, by their keys. A token is of one connection, and never of
/// another one that gets its key later.
#[derive(Debug)]
pub(super) struct CarriedConnections {
    handle: Arc<WorkerHandle>,
    connections: Slab<Box<CarriedConnection>>,
    generation: u32,
}

impl CarriedConnections {
    /// No connection yet; the thread of this handle watches the sockets.
    pub(super) fn new(handle: Arc<WorkerHandle>) -> Self {
        Self {
            handle,
            connections: Slab::new(),
            generation: 0,
        }
    }

    /// Adds a connection, and watches its sockets. Returns its key and its token; `None` if it cannot be
    /// watched, and was reset.
    pub(super) fn add(&mut self, mut connection: Box<CarriedConnection>) -> Option<(usize, u64)> {
        self.generation = (self.generation + 1) & (GENERATIONS - 1);
        connection.generation = self.generation;
        let key = self.connections.insert(connection);
        let token = token(key, self.generation);
        if let Err(error) = self.watch(key, token) {
            log::unwatched(self.get(key).connection(), &error);
            self.reset(key);
            return None;
        }
        Some((key, token))
    }

    fn watch(&self, key: usize, token: u64) -> io::Result<()> {
        let connection = self.get(key);
        let watch = |socket, side| self.handle.poller.add(socket, token | side, WATCHED);
        // A detached client has none.
        if let Some(upstream) = connection.upstream_socket() {
            watch(upstream, UPSTREAM)?;
        }
        watch(connection.admitted.socket(), CLIENT)
    }

    /// The key of the connection with this token, unless it has left.
    pub(super) fn key(&self, token: u64) -> Option<usize> {
        let (key, generation) = key_and_generation(token);
        let connection = self.connections.get(key)?;
        (connection.generation == generation).then_some(key)
    }

    /// Whether the connection with this token is here, and `what` holds of it.
    pub(super) fn is(&self, token: u64, what: impl Fn(&CarriedConnection) -> bool) -> bool {
        self.key(token).is_some_and(|key| what(self.get(key)))
    }

    pub(super) fn get(&self, key: usize) -> &CarriedConnection {
        &self.connections[key]
    }

    pub(super) fn get_mut(&mut self, key: usize) -> &mut CarriedConnection {
        &mut self.connections[key]
    }

    /// Closes a connection that has ended in order on both sides, which ends the watching too.
    pub(super) fn complete(&mut self, key: usize) {
        let carried = self.connections.remove(key);
        log::ended(carried.connection());
        carried.connection().set_complete();
    }

    /// Takes out a connection that continues elsewhere, and watches its sockets no more.
    pub(super) fn take(&mut self, key: usize) -> Box<CarriedConnection> {
        let connection = self.connections.remove(key);
        for socket in connection.sockets() {
            self.handle.poller.remove(socket);
        }
        connection
    }

    /// Takes out a connection and resets both sides.
    pub(super) fn reset(&mut self, key: usize) {
        self.take(key).reset_on_close();
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The keys of every second connection that has carried something since then, of those that may leave. A single one
    /// would be no better off elsewhere.
    pub(super) fn half_of_active(
        &self,
        since: Uptime,
        may_leave: impl Fn(&CarriedConnection) -> bool,
    ) -> Vec<usize> {
        let is_active = |carried: &CarriedConnection| {
            !carried.is_connecting() && carried.connection().active() >= since
        };
        self.keys(|carried| is_active(carried) && may_leave(carried))
            .skip(1)
            .step_by(2)
            .collect()
    }

    /// Resets the connections that are to be ended.
    pub(super) fn cut(&mut self) {
        let keys: Vec<usize> = self.keys(CarriedConnection::must_end).collect();
        for key in keys {
            log::aborted(self.get(key).connection());
            self.reset(key);
        }
    }

    /// Ends connections that have carried nothing for `limit`, in order, and counts them; not those that wait for
    /// a reply, or have bytes on their way.
    pub(super) fn close_idle(&mut self, limit: Duration, now: Uptime, count: &Connections) {
        let is_idle = |carried: &CarriedConnection| {
            let connection = carried.connection();
            !carried.is_connecting()
                && !carried.is_detached()
                && now.since(connection.active()) >= limit
                && !connection.awaits_reply()
        };
        let keys: Vec<usize> = self.keys(is_idle).collect();
        for key in keys {
            if self.get_mut(key).close_if_empty() {
                log::closed_idle(self.get(key).connection());
                count.closed_idle.fetch_add(1, Relaxed);
                self.complete(key);
            }
        }
    }

    /// Detaches a client from its upstream.
    pub(super) fn detach(&mut self, key: usize, route: &Route) {
        let carried = self.get(key);
        if let Some(upstream) = carried.upstream_socket() {
            self.handle.poller.remove(upstream);
        }
        // Of one that has yet to answer it is written down that the client waits for one.
        let is_held = carried.is_connecting();
        let carried = self.get_mut(key);
        carried.admitted.is_held = is_held;
        carried.keep_request(route);
        let slot = carried.connection().slot;
        if let Some(slot) = slot.filter(|_| !carried.admitted.is_held) {
            slot.set_requests(Slot::DETACHED);
        }
        carried.end_upstream(route);
        route.admission.detached(carried.connection());
    }

    /// The tokens of the connections that can do without an upstream, and have carried nothing for `limit`: if there is
    /// one, also no part of a request has come. Those whose upstream has yet to answer are among them if there is none.
    pub(super) fn to_detach(&self, limit: Duration, now: Uptime) -> Vec<u64> {
        let is_at_once = limit.is_zero();
        self.tokens(|carried| {
            !carried.is_detached()
                && match carried.is_connecting() {
                    true => is_at_once,
                    false => {
                        carried.relay.is_between_requests()
                            && (is_at_once || !carried.relay.waits_for_rest())
                            && now.since(carried.connection().active()) >= limit
                    }
                }
        })
        .collect()
    }

    /// The tokens of the detached clients.
    pub(super) fn detached(&self) -> impl Iterator<Item = u64> {
        self.tokens(CarriedConnection::is_detached)
    }

    fn tokens(&self, which: impl Fn(&CarriedConnection) -> bool) -> impl Iterator<Item = u64> {
        let carried = self.connections.iter();
        carried
            .filter(move |(_, carried)| which(carried))
            .map(|(key, carried)| token(key, carried.generation))
    }

    /// Ends the connection of a detached client in order.
    pub(super) fn end_detached(&mut self, key: usize) {
        // It fails only on a connection that has ended or is broken.
        let _ = ending::end_orderly(self.get(key).admitted.socket());
        self.complete(key);
    }

    /// Ends the connections of all detached clients in order.
    pub(super) fn end_all_detached(&mut self) {
        let keys: Vec<usize> = self.keys(CarriedConnection::is_detached).collect();
        keys.into_iter().for_each(|key| self.end_detached(key));
    }

    fn keys(&self, which: impl Fn(&CarriedConnection) -> bool) -> impl Iterator<Item = usize> {
        self.connections
            .iter()
            .filter(move |(_, carried)| which(carried))
            .map(|(key, _)| key)
    }
}
