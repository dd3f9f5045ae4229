//! Clients of a thread that are detached from their upstream, and attached to the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::another_upstream;
use super::attach_queue::QueueTurn;
use super::carried_connection::{CarriedConnection, park_new};
use super::carrier::Carrier;
use super::handle::WorkerHandle;
use crate::proxy::admission::log;

impl Carrier {
    /// The detached clients that have spoken get their upstreams.
    pub(super) fn attach_all(&mut self, threads: usize) {
        self.attach_queue
            .begin(self.connections.detached(), threads);
        self.attach_next();
    }

    /// Detaches the connections that can do without an upstream, and have carried nothing for this time.
    pub(super) fn detach_idle(&mut self, idle: Duration) {
        if self.pool.route.settings.requests.is_none() {
            return;
        }
        for token in self.connections.to_detach(idle, self.now) {
            if let Some(key) = self.connections.key(token) {
                self.detach(key, token);
            }
        }
    }

    /// Passes all detached clients on, and has the others follow them.
    pub(super) fn pass_on_all(&mut self) {
        let detached: Vec<u64> = self.connections.detached().collect();
        for token in detached {
            if let Some(key) = self.connections.key(token) {
                self.handle_detached(key, token);
            }
        }
        self.detach_idle(Duration::ZERO);
    }

    pub(super) fn detach(&mut self, key: usize, token: u64) {
        self.connections.detach(key, &self.pool.route);
        self.handle_detached(key, token);
    }

    /// Handles what is known of a client without an upstream: it has left, or spoken.
    pub(super) fn handle_detached(&mut self, key: usize, token: u64) {
        let carried = self.connections.get(key);
        let client = carried.relay.client;
        if client.is_broken {
            self.connections.reset(key);
        } else if carried.must_end() {
            // The message about it has yet to come, and must find it here.
            log::aborted(carried.connection());
            self.connections.reset(key);
        } else if self.pool.detaching.is_ending() {
            self.connections.end_detached(key);
        } else if self.pool.passing_on.is_on() && carried.may_speak() {
            let client = self.connections.take(key).admitted;
            self.pool.pass_on(client);
        } else if carried.wants_upstream() {
            if !self.may_attach(key, token) {
                return;
            }
            match self.attach_queue.has_waiting() {
                true => self.attach_queue.add(token),
                false => _ = self.attach(key, None),
            }
        } else if client.has_ended {
            self.connections.end_detached(key);
        }
    }

    /// Whether a client without an upstream that has said something may have one: its request is whole as far as it has
    /// to be known, or its rest was waited for.
    fn may_attach(&mut self, key: usize, token: u64) -> bool {
        let carried = self.connections.get_mut(key);
        let was_awaited = carried.waits_for_rest();
        match carried.awaits_rest(self.pool.route.settings.requests) {
            Ok(true) if !was_awaited => self.await_rest(token),
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => self.connections.reset(key),
        }
        false
    }

    /// Gives clients of the queue their upstreams.
    pub(super) fn attach_next(&mut self) {
        loop {
            let connections = &self.connections;
            let connects = |token| connections.is(token, CarriedConnection::is_connecting);
            let Some(token) = self.attach_queue.next(self.now, connects) else {
                return;
            };
            let waits =
                |carried: &CarriedConnection| carried.is_detached() && carried.wants_upstream();
            if !connections.is(token, waits) {
                continue;
            }
            let key = connections.key(token);
            let Some(key) = key.filter(|key| self.may_attach(*key, token)) else {
                continue;
            };
            let queue = Some(Arc::clone(&self.handle));
            let turn = self.attach(key, queue);
            let is_connected = match turn {
                QueueTurn::Carried(token) => {
                    !self.connections.is(token, CarriedConnection::is_connecting)
                }
                _ => false,
            };
            self.attach_queue.turned(turn, is_connected, self.now);
        }
    }

    /// A client of the queue has left while the runtime connected it.
    pub(super) fn returned_without_connection(&mut self) {
        self.attach_queue.returned(None, self.now);
    }

    /// Gives a client without an upstream one, if the gate allows it. `queue`: who is told when the runtime has connected
    /// it.
    fn attach(&mut self, key: usize, queue: Option<Arc<WorkerHandle>>) -> QueueTurn {
        let route = Arc::clone(&self.pool.route);
        let connection = self.connections.get(key).connection();
        let Some(target) = route.target() else {
            return QueueTurn::Nothing;
        };
        if !route.admission.try_attach(connection) {
            return QueueTurn::Nothing;
        }
        let mut client = self.connections.take(key).admitted;
        let connection = match another_upstream::prepare(&mut client) {
            Some(Duration::ZERO) => self.connect(client, target, queue),
            Some(pause) => {
                client.park();
                self.pool.wait_for_another(pause, client, queue);
                None
            }
            None => {
                client.connection().reset_on_close();
                log::ended(client.connection());
                return QueueTurn::Nothing;
            }
        };
        let Some(connection) = connection else {
            return QueueTurn::Away;
        };
        let token = self.carry(Box::new(connection));
        let Some((token, key)) =
            token.and_then(|token| Some((token, self.connections.key(token)?)))
        else {
            return QueueTurn::Nothing;
        };
        park_new(&route, [self.connections.get(key)]);
        QueueTurn::Carried(token)
    }

    /// The upstream was lost before its reply: another one gets the request.
    pub(super) fn repeat(&mut self, key: usize) {
        let route = &self.pool.route;
        let mut client = another_upstream::take_client(*self.connections.take(key), route);
        match another_upstream::prepare(&mut client) {
            Some(pause) => {
                route.admission.connections.repeated.fetch_add(1, Relaxed);
                client.park();
                self.pool.wait_for_another(pause, client, None);
            }
            None => {
                client.connection().reset_on_close();
                log::ended(client.connection());
            }
        }
    }
}
