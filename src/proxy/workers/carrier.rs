//! The connections of one thread, and what happens to them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::attach_queue::AttachQueue;
use super::balance::Burden;
use super::broken_side::deliver_and_reset;
use super::carried_connection::{CarriedConnection, park_new};
use super::carried_connections::CarriedConnections;
use super::deadlines::ConnectionDeadlines;
use super::detaching_signal::is_detaching;
use super::handle::{Message, WorkerHandle};
use super::pool::WorkerPool;
use super::token::UPSTREAM;
use crate::proxy::admission::{AdmittedClient, RestOfRequest, Side};
use crate::proxy::relay::{Ending, NextTurn};
use crate::proxy::upstream::{ConnectAttempt, ConnectedUpstream};
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
    pub(super) pool: Arc<WorkerPool>,
    pub(super) handle: Arc<WorkerHandle>,
    pub(super) connections: CarriedConnections,
    /// The tokens of connections that have another turn to come.
    queued_turns: Vec<u64>,
    deadlines: ConnectionDeadlines,
    pub(super) attach_queue: AttachQueue,
    /// When the current events came.
    pub(super) now: Uptime,
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

    /// Leads a client to its upstream. Returns the token of the connection, if this thread carries it.
    pub(super) fn lead(&mut self, client: AdmittedClient, target: Arc<Address>) -> Option<u64> {
        let connection = self.connect(client, target, None)?;
        match self.pool.choose(&self.handle) {
            handle if Arc::ptr_eq(&handle, &self.handle) => self.carry(Box::new(connection)),
            handle => {
                park_new(&self.pool.route, [&connection]);
                handle.inbox.post(Message::Carry(Box::new(connection)));
                None
            }
        }
    }

    /// Connects a client to its upstream, or begins to. `None` if the runtime does that; `queue` is told when the client
    /// is back.
    pub(super) fn connect(
        &self,
        mut client: AdmittedClient,
        target: Arc<Address>,
        queue: Option<Arc<WorkerHandle>>,
    ) -> Option<CarriedConnection> {
        let route = &self.pool.route;
        Some(match route.connector.begin(&target, &mut client.spare) {
            Some(Ok(ConnectAttempt::Complete(upstream))) => {
                route.reached(&target, self.now);
                let connected = ConnectedUpstream::new(upstream, target);
                client.connection().set_upstream(connected);
                if !client.request.bytes().is_empty() {
                    // Before what was said is written down as under way.
                    client.park();
                }
                CarriedConnection::relaying(client, route)
            }
            Some(Ok(ConnectAttempt::Pending(upstream))) => {
                let upstream = ConnectedUpstream::new(upstream, target);
                CarriedConnection::connecting(client, upstream, route)
            }
            Some(Err(error)) => {
                client.park();
                route.not_reached(&target, &error, client.connection());
                self.pool.wait_after_failure(client, queue);
                return None;
            }
            None => {
                client.park();
                self.pool.wait_for_another(Duration::ZERO, client, queue);
                return None;
            }
        })
    }

    /// Carries this connection from now on. Returns its token, unless it has ended already.
    pub(super) fn carry(&mut self, mut connection: Box<CarriedConnection>) -> Option<u64> {
        let is_connecting = connection.is_connecting();
        let is_of_queue = std::mem::take(&mut connection.is_of_queue);
        let is_detached = connection.is_detached();
        let added = self.connections.add(connection);
        if is_of_queue {
            let carried = added.filter(|_| !is_detached).map(|(_, token)| token);
            self.attach_queue.returned(carried, self.now);
        }
        let (key, token) = added?;
        if is_detached {
            self.attach_queue.add(token);
        }
        if is_connecting {
            let due = self.now + self.pool.route.first_attempt_limit();
            self.deadlines.answers.add(due, token);
        }
        if self.connections.get(key).waits_for_rest() {
            self.await_rest(token);
        }
        if self.connections.get(key).must_end() {
            self.connections.cut();
            return None;
        }
        if is_connecting && is_detaching(&self.pool.route) {
            self.detach(key, token);
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
            return self.handle_detached(key, token & !UPSTREAM);
        }
        if connection.is_connecting() {
            let (client, upstream) = (connection.relay.client, connection.relay.upstream);
            if upstream.is_broken {
                return self.try_again(key, token);
            }
            if !upstream.is_writable {
                if client.is_broken {
                    self.connections.reset(key);
                }
                return;
            }
            connection.upstream_answered(&self.pool.route, self.now);
            self.attach_queue.connected(token & !UPSTREAM, self.now);
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
        let Some(upstream) = upstream else {
            return;
        };
        if admitted.rest == RestOfRequest::Late {
            admitted.rest = RestOfRequest::NotMissing;
            relay.pass_unfinished();
        }
        let connection = admitted.connection();
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
                return self.detach(key, token);
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
            self.await_rest(token);
        } else if self.pool.route.admission.is_detaching() && carried.relay.is_between_requests() {
            self.detach(key, token);
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
    fn try_again(&mut self, key: usize, token: u64) {
        let is_of_queue = self.attach_queue.goes_away(token & !UPSTREAM);
        let connection = self.connections.take(key);
        // Before the upstream's socket is closed, so that the next process does not take it for the upstream.
        connection.admitted.park();
        connection.attempt_failed(&self.pool.route);
        let queue = is_of_queue.then(|| Arc::clone(&self.handle));
        self.pool.wait_after_failure(connection.admitted, queue);
    }

    /// Has a part of a request or a reply wait for its rest, for a time.
    pub(super) fn await_rest(&mut self, token: u64) {
        self.deadlines.rests.add(self.now + REST_LIMIT, token);
    }

    /// Handles the connections that are due.
    pub(super) fn tick(&mut self) {
        loop {
            let connections = &self.connections;
            let waits = |token| connections.is(token, CarriedConnection::is_connecting);
            let due = self.deadlines.answers.take_due(self.now, waits);
            let Some((token, key)) = due.and_then(|token| Some((token, connections.key(token)?)))
            else {
                break;
            };
            self.try_again(key, token);
        }
        loop {
            let connections = &self.connections;
            let waits = |token| connections.is(token, CarriedConnection::waits_for_rest);
            let due = self.deadlines.rests.take_due(self.now, waits);
            let Some((token, key)) = due.and_then(|token| Some((token, connections.key(token)?)))
            else {
                break;
            };
            let carried = self.connections.get_mut(key);
            if carried.is_detached() {
                carried.admitted.rest = RestOfRequest::Late;
                self.handle_detached(key, token);
            } else {
                carried.relay.stop_waiting_for_rest();
                self.turn(key, token);
            }
        }
        self.attach_next();
    }

    /// Gives half of the active connections that may leave to another thread, if one has time.
    pub(super) fn give_away(&mut self) {
        let Some(burden) = self.pool.burden(&self.handle) else {
            return;
        };
        let lately = Uptime::from_micros(self.now.as_micros().saturating_sub(LATELY_USEC));
        let now = self.now;
        let may_leave =
            |carried: &CarriedConnection| burden == Burden::Any || carried.is_interactive(now);
        let keys = self.connections.half_of_active(lately, may_leave);
        if keys.is_empty() {
            return;
        }
        let Some(handle) = self.pool.another(&self.handle) else {
            return;
        };
        for key in keys {
            let mut connection = self.connections.take(key);
            connection.is_queued = false;
            handle.inbox.post(Message::Carry(connection));
        }
    }
}
