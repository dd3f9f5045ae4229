//! The connections of one thread, and what happens to them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::another_upstream;
use super::attach_queue::AttachQueue;
use super::broken_side::deliver_and_reset;
use super::carried_connection::{CarriedConnection, park_new};
use super::carried_connections::CarriedConnections;
use super::deadlines::Deadlines;
use super::detaching_signal::is_detaching;
use super::handle::{Message, WorkerHandle};
use super::pool::WorkerPool;
use super::token::UPSTREAM;
use crate::proxy::admission::{AdmittedClient, Side, log};
use crate::proxy::relay::{Ending, NextTurn};
use crate::proxy::upstream::{ConnectAttempt, ConnectedUpstream, log_failure};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::poller::Flags;

/// A connection that has carried something in this time is active.
const LATELY_USEC: u64 = 50_000;

/// How long a part of a request or a reply waits for its rest. After that it passes as it is.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// The connections of one thread, and what happens to them.
#[derive(Debug)]
pub(super) struct Carrier {
    pool: Arc<WorkerPool>,
    handle: Arc<WorkerHandle>,
    pub(super) connections: CarriedConnections,
    /// The tokens of connections that have another turn to come.
    queued_turns: Vec<u64>,
    deadlines: ConnectionDeadlines,
    attach_queue: AttachQueue,
    /// When the current events came.
    pub(super) now: Uptime,
}

#[derive(Debug, Default)]
struct ConnectionDeadlines {
    /// Of upstreams that have yet to answer ([`Route::first_attempt_limit`](crate::proxy::route::Route)).
    answers: Deadlines,
    /// Of requests and replies of which a part has come.
    rests: Deadlines,
}

impl Carrier {
    /// No connection yet.
    pub(super) fn new(pool: Arc<WorkerPool>, handle: Arc<WorkerHandle>) -> Self {
        Self {
            connections: CarriedConnections::new(Arc::clone(&handle)),
            pool,
            handle,
            queued_turns: Vec::new(),
            deadlines: ConnectionDeadlines::default(),
            attach_queue: AttachQueue::default(),
            now: Uptime::now(),
        }
    }

    /// When something is due.
    pub(super) fn until(&self) -> Option<Uptime> {
        if !self.queued_turns.is_empty() {
            return Some(self.now);
        }
        let due = [
            self.deadlines.answers.next(),
            self.deadlines.rests.next(),
            self.attach_queue.until(),
        ];
        due.into_iter().flatten().min()
    }

    /// Takes the turns that are still to come.
    pub(super) fn take_queued_turns(&mut self) {
        for token in std::mem::take(&mut self.queued_turns) {
            if let Some(key) = self.connections.key(token) {
                self.connections.get_mut(key).is_queued = false;
                self.turn(key, token);
            }
        }
    }

    /// The detached clients that have spoken get their upstreams.
    pub(super) fn attach_all(&mut self, threads: usize) {
        self.attach_queue
            .begin(self.connections.detached(), threads);
        self.attach_next();
    }

    /// Leads a client to its upstream. Returns the token of the connection, if this thread carries it.
    pub(super) fn lead(&mut self, mut client: AdmittedClient, target: Arc<Address>) -> Option<u64> {
        let route = &self.pool.route;
        let connection = match route.connector.begin(&target, &mut client.spare) {
            Some(Ok(ConnectAttempt::Complete(upstream))) => {
                let connected = ConnectedUpstream::new(upstream, target);
                client.connection().set_upstream(connected);
                CarriedConnection::relaying(client, route)
            }
            Some(Ok(ConnectAttempt::Pending(upstream))) => {
                let upstream = ConnectedUpstream::new(upstream, target);
                CarriedConnection::connecting(client, upstream, route)
            }
            Some(Err(error)) => {
                client.park();
                let connection = client.connection();
                log_failure(&target, &error, Some((connection.id, &connection.peer)));
                self.pool.wait_after_failure(client);
                return None;
            }
            None => {
                client.park();
                self.pool.wait(client);
                return None;
            }
        };
        match self.pool.choose(&self.handle) {
            handle if Arc::ptr_eq(&handle, &self.handle) => self.carry(Box::new(connection)),
            handle => {
                park_new(&self.pool.route, [&connection]);
                handle.inbox.post(Message::Carry(Box::new(connection)));
                None
            }
        }
    }

    /// Carries this connection from now on. Returns its token, unless it has ended already.
    pub(super) fn carry(&mut self, connection: Box<CarriedConnection>) -> Option<u64> {
        let is_connecting = connection.is_connecting();
        let (key, token) = self.connections.add(connection)?;
        if is_connecting {
            let due = self.now + self.pool.route.first_attempt_limit();
            self.deadlines.answers.add(due, token);
        }
        let carried = self.connections.get(key);
        if carried.relay.waits_for_rest() {
            self.deadlines.rests.add(self.now + REST_LIMIT, token);
        }
        if carried.must_end() {
            self.connections.cut();
            return None;
        }
        if is_connecting && is_detaching(&self.pool.route) {
            self.detach(key);
            return None;
        }
        Some(token)
    }

    /// Handles an event of a socket.
    pub(super) fn handle_event(&mut self, token: u64, flags: Flags) {
        let Some(key) = self.connections.key(token) else {
            return;
        };
        let connection = self.connections.get_mut(key);
        match token & UPSTREAM {
            0 => connection.relay.client.update(flags),
            _ => connection.relay.upstream.update(flags),
        }
        if connection.is_detached() {
            return self.handle_detached(key);
        }
        if connection.is_connecting() {
            let (client, upstream) = (connection.relay.client, connection.relay.upstream);
            if upstream.is_broken {
                return self.try_again(key);
            }
            if !upstream.is_writable {
                if client.is_broken {
                    self.connections.reset(key);
                }
                return;
            }
            connection.upstream_answered(&self.pool.route);
        }
        self.turn(key, token & !UPSTREAM);
    }

    pub(super) fn turn(&mut self, key: usize, token: u64) {
        let CarriedConnection {
            upstream,
            admitted,
            relay,
            is_queued,
            ..
        } = self.connections.get_mut(key);
        let connection = admitted.connection();
        let Some(upstream) = upstream else {
            return;
        };
        relay.hold_requests(self.pool.route.admission.is_detaching());
        let turn = relay.turn(admitted.socket(), upstream.socket.as_fd(), self.now);
        connection.count(turn.received, turn.sent, self.now);
        match turn.next {
            NextTurn::Waits => {}
            NextTurn::Again => {
                if !std::mem::replace(is_queued, true) {
                    self.queued_turns.push(token);
                }
            }
            NextTurn::Ended(ending) => return self.end(key, ending),
            NextTurn::Detach => {
                if !self.pool.route.admission.is_detaching() {
                    admitted.unanswered += u8::from(!relay.has_answered());
                }
                return self.detach(key);
            }
            NextTurn::Repeat => return self.repeat(key),
        }
        if self.pool.route.settings.requests.is_some() {
            self.look_at_requests(key, token, turn.sent > 0);
        }
    }

    /// Acts on what a turn has shown of the requests.
    fn look_at_requests(&mut self, key: usize, token: u64, has_sent: bool) {
        let carried = self.connections.get_mut(key);
        if has_sent {
            carried.admitted.unanswered = 0;
            if !self.attach_queue.is_over() {
                self.attach_queue.answered(token);
            }
        }
        if let Some(why) = carried.relay.opaque() {
            carried.connection().set_opaque(why);
        } else if carried.relay.starts_to_wait_for_rest() {
            self.deadlines.rests.add(self.now + REST_LIMIT, token);
        } else if self.pool.route.admission.is_detaching() && carried.relay.is_between_requests() {
            self.detach(key);
        }
    }

    fn end(&mut self, key: usize, ending: Ending) {
        let (broken, kind) = match ending {
            Ending::Orderly => return self.connections.complete(key),
            Ending::ClientBroken(kind) => (Side::Client, kind),
            Ending::UpstreamBroken(kind) => (Side::Upstream, kind),
        };
        // The bytes in the relay have no receiver any more. Even so they are dropped after the connection.
        let CarriedConnection {
            admitted, relay, ..
        } = *self.connections.take(key);
        self.pool.spawn(async move {
            deliver_and_reset(admitted, broken, kind).await;
            drop(relay);
        });
    }

    /// The upstream has not answered: the runtime retries.
    fn try_again(&mut self, key: usize) {
        let connection = self.connections.take(key);
        // Before the upstream's socket is closed, so that the next process does not take it for the upstream.
        connection.admitted.park();
        connection.log_failed_attempt();
        self.pool.wait_after_failure(connection.admitted);
    }

    /// Handles the connections that are due.
    pub(super) fn tick(&mut self) {
        loop {
            let connections = &self.connections;
            let waits = |token| connections.is(token, CarriedConnection::is_connecting);
            let due = self.deadlines.answers.take_due(self.now, waits);
            let Some(key) = due.and_then(|token| self.connections.key(token)) else {
                break;
            };
            self.try_again(key);
        }
        loop {
            let connections = &self.connections;
            let waits = |token| connections.is(token, |carried| carried.relay.waits_for_rest());
            let due = self.deadlines.rests.take_due(self.now, waits);
            let Some((token, key)) = due.and_then(|token| Some((token, connections.key(token)?)))
            else {
                break;
            };
            self.connections.get_mut(key).relay.stop_waiting_for_rest();
            self.turn(key, token);
        }
        self.attach_next();
    }

    /// Gives half of the active connections to another thread, if one has time.
    pub(super) fn give_away(&mut self) {
        let Some(handle) = self.pool.another(&self.handle) else {
            return;
        };
        let lately = Uptime::from_micros(self.now.as_micros().saturating_sub(LATELY_USEC));
        for key in self.connections.half_of_active(lately) {
            let mut connection = self.connections.take(key);
            connection.is_queued = false;
            handle.inbox.post(Message::Carry(connection));
        }
    }

    /// Detaches the connections that can do without an upstream, and have carried nothing for this time.
    pub(super) fn detach_idle(&mut self, idle: Duration) {
        if self.pool.route.settings.requests.is_none() {
            return;
        }
        for token in self.connections.to_detach(idle, self.now) {
            if let Some(key) = self.connections.key(token) {
                self.detach(key);
            }
        }
    }

    fn detach(&mut self, key: usize) {
        self.connections.detach(key, &self.pool.route);
        self.handle_detached(key);
    }

    /// Handles what is known of a client without an upstream: it has left, or spoken.
    fn handle_detached(&mut self, key: usize) {
        let carried = self.connections.get(key);
        let client = carried.relay.client;
        if client.is_broken {
            self.connections.reset(key);
        } else if self.pool.detaching.is_ending() {
            self.connections.end_detached(key);
        } else if carried.admitted.is_held || client.is_readable && carried.wants_upstream() {
            self.attach(key);
        } else if client.has_ended {
            self.connections.end_detached(key);
        }
    }

    /// Gives clients of the queue their upstreams.
    pub(super) fn attach_next(&mut self) {
        while let Some(token) = self.attach_queue.next(self.now) {
            let is_waiting =
                |carried: &CarriedConnection| carried.is_detached() && carried.wants_upstream();
            if self.connections.is(token, is_waiting)
                && let Some(key) = self.connections.key(token)
                && let Some(attached) = self.attach(key)
            {
                self.attach_queue.attached(attached, self.now);
            }
        }
    }

    /// Gives a client without an upstream one, if the gate allows it. Returns the token of the connection, if this
    /// thread carries it.
    fn attach(&mut self, key: usize) -> Option<u64> {
        let route = Arc::clone(&self.pool.route);
        let target = route.target()?;
        let connection = self.connections.get(key).connection();
        if !route.admission.try_attach(connection) {
            return None;
        }
        let mut client = self.connections.take(key).admitted;
        let token = match another_upstream::prepare(&mut client) {
            Some(Duration::ZERO) => self.lead(client, target)?,
            Some(pause) => {
                client.park();
                self.pool.wait_for_another(pause, client);
                return None;
            }
            None => {
                client.connection().reset_on_close();
                log::ended(client.connection());
                return None;
            }
        };
        let key = self.connections.key(token)?;
        park_new(&route, [self.connections.get(key)]);
        Some(token)
    }

    /// The upstream was lost before its reply: another one gets the request.
    fn repeat(&mut self, key: usize) {
        let route = &self.pool.route;
        let mut client = another_upstream::take_client(*self.connections.take(key), route);
        match another_upstream::prepare(&mut client) {
            Some(pause) => {
                route.admission.connections.repeated.fetch_add(1, Relaxed);
                client.park();
                self.pool.wait_for_another(pause, client);
            }
            None => {
                client.connection().reset_on_close();
                log::ended(client.connection());
            }
        }
    }
}
