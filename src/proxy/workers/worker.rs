//! The loop of one thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::acceptor::{Acceptor, ClientWithTarget};
use super::broken_side::deliver_and_reset;
use super::carried_connection::CarriedConnection;
use super::carried_connections::CarriedConnections;
use super::handle::{Message, WorkerHandle};
use super::load::Stopwatch;
use super::outbox::Outbox;
use super::pool::WorkerPool;
use super::token::{DOORS, ENDS, INBOX, ROOM, UPSTREAM};
use crate::proxy::admission::{AdmittedClient, Side};
use crate::proxy::relay::{Ending, NextTurn};
use crate::proxy::route::Route;
use crate::proxy::upstream::{ConnectAttempt, ConnectedUpstream, log_failure};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::poller::{Events, Flags};

/// A connection that has carried something in this time is active.
const LATELY_USEC: u64 = 50_000;

/// A thread that carries connections. The first one accepts, too.
#[derive(Debug)]
pub(super) struct Worker {
    pool: Arc<WorkerPool>,
    handle: Arc<WorkerHandle>,
    pub(super) connections: CarriedConnections,
    /// The tokens of connections that have another turn to come.
    queued_turns: Vec<u64>,
    /// Upstreams that have yet to answer, with the time by which they have to ([`Route::first_attempt_limit`]).
    pending_upstreams: VecDeque<(Uptime, u64)>,
    acceptor: Option<Acceptor>,
    /// Empty, to be used again.
    arrivals: Vec<ClientWithTarget>,
    /// Empty, to be used again: tokens.
    new_connections: Vec<u64>,
    outbox: Outbox,
    stopwatch: Stopwatch,
    /// When the current events came.
    now: Uptime,
}

/// The events of one wait, except those of connections.
#[derive(Default)]
struct OtherEvents {
    messages: bool,
    ends: bool,
    room: bool,
    /// Listeners where clients wait.
    doors: Vec<u64>,
}

impl Worker {
    pub(super) fn new(pool: Arc<WorkerPool>, handle: Arc<WorkerHandle>) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&pool), Arc::clone(&handle)),
            connections: CarriedConnections::new(Arc::clone(&handle)),
            pool,
            handle,
            queued_turns: Vec::new(),
            pending_upstreams: VecDeque::new(),
            acceptor: None,
            arrivals: Vec::new(),
            new_connections: Vec::new(),
            stopwatch: Stopwatch::new(),
            now: Uptime::now(),
        }
    }

    /// Makes it the thread that accepts and handles the ends of handovers. Fails if there are too many watches.
    pub(super) fn become_acceptor(&mut self) -> io::Result<()> {
        let route = &self.pool.route;
        self.acceptor = Some(Acceptor::new(route.admission.backlog.listeners()));
        self.handle.poller.add(&route.handover, ENDS, Flags::IN)
    }

    /// Accepts and carries until [`Message::Stop`].
    pub(super) fn run(&mut self) {
        let handle = Arc::clone(&self.handle);
        self.stopwatch = Stopwatch::new();
        let mut events = Events::new();
        let mut others = OtherEvents::default();
        loop {
            if let Err(error) = handle.poller.wait(&mut events, self.limit()) {
                // epoll(7) has no error that could come here.
                let sentence = format!("a thread that carries cannot wait any more: {error}");
                return self.pool.route.admission.fail(sentence);
            }
            self.now = Uptime::now();
            self.dispatch(&events, &mut others);
            if std::mem::take(&mut others.ends) {
                self.handle_ends(&mut events);
            }
            if std::mem::take(&mut others.room) {
                self.outbox.try_again();
            }
            // After the events, which are of connections that have their keys by now.
            while let Some(door) = others.doors.pop() {
                self.accept(door as usize);
            }
            if std::mem::take(&mut others.messages) && self.read_messages() {
                return;
            }
            for token in std::mem::take(&mut self.queued_turns) {
                if let Some(key) = self.connections.key(token) {
                    self.connections.get_mut(key).is_queued = false;
                    self.turn(key, token);
                }
            }
            self.tick();
        }
    }

    fn dispatch(&mut self, events: &Events, others: &mut OtherEvents) {
        for index in 0..events.len() {
            match events.get(index) {
                None => {}
                Some((INBOX, _)) => others.messages = true,
                Some((ENDS, _)) => others.ends = true,
                Some((ROOM, _)) => others.room = true,
                Some((token, _)) if token >= DOORS => others.doors.push(token - DOORS),
                Some((token, flags)) => self.handle_event(token, flags),
            }
        }
    }

    /// How long nothing is due.
    fn limit(&self) -> Option<Duration> {
        if !self.queued_turns.is_empty() {
            return Some(Duration::ZERO);
        }
        let attempt = self.pending_upstreams.front().map(|(due, _)| *due);
        let acceptor = self.acceptor.as_ref();
        let pause = acceptor.and_then(|acceptor| acceptor.pause.until());
        let due = [attempt, pause, self.outbox.until()];
        let due = due.into_iter().flatten().min()?;
        Some(due.since(Uptime::now()))
    }

    /// Does what is due.
    fn tick(&mut self) {
        self.end_pause();
        self.outbox.tick(self.now);
        while let Some((due, token)) = self.pending_upstreams.front().copied() {
            let key = self.connections.key(token);
            let connecting = key.filter(|key| self.connections.get(*key).is_connecting());
            match connecting {
                Some(_) if due > self.now => break,
                Some(key) => self.try_again(key),
                None => {}
            }
            self.pending_upstreams.pop_front();
        }
        let has_measured = self.stopwatch.measure(self.now, &self.handle.load);
        if has_measured && self.handle.load.is_full() && self.connections.len() > 1 {
            self.give_away();
        }
    }

    /// Accepts again, if the pause is over.
    fn end_pause(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.pause.is_over(self.now)
        {
            // The outbox may still wait for room.
            let admission = &self.pool.route.admission;
            admission.set_accepting_paused(self.outbox.is_blocked());
        }
    }

    /// Returns whether the thread has to end.
    fn read_messages(&mut self) -> bool {
        for message in self.handle.inbox.take() {
            match message {
                Message::Carry(connection) => _ = self.carry(connection),
                Message::Cut => self.connections.cut(),
                Message::CloseIdle(limit) => {
                    let admission = &self.pool.route.admission;
                    self.connections
                        .close_idle(limit, self.now, &admission.connections);
                }
                Message::Echo => self.handle.load.answer(),
                Message::Retire => {
                    self.acceptor = None;
                    self.outbox.give_up();
                }
                Message::Stop => return true,
            }
        }
        false
    }

    /// Handles the ends of connections that were handed over.
    fn handle_ends(&mut self, events: &mut Events) {
        let ended = self.pool.route.handover.take_ended(events);
        for client in ended.connections {
            self.pool.end_handover(client);
        }
        for _ in 0..ended.orphans {
            self.pool.route.admission.closed();
        }
    }

    /// Accepts the clients that wait at this listener, and leads each of them on.
    fn accept(&mut self, index: usize) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if self.outbox.is_blocked() {
            return;
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        acceptor.accept(index, &self.pool.route, &mut arrivals, self.now);
        let mut tokens = std::mem::take(&mut self.new_connections);
        for (client, target) in arrivals.drain(..) {
            match *target {
                Address::Handover(_) => self.outbox.add(client, target, self.now),
                _ => tokens.extend(self.lead(client, target)),
            }
        }
        self.arrivals = arrivals;
        let keys = tokens
            .iter()
            .filter_map(|token| self.connections.key(*token));
        park_new(&self.pool.route, keys.map(|key| self.connections.get(key)));
        tokens.clear();
        self.new_connections = tokens;
        self.outbox.flush(self.now);
    }

    /// Leads a client to its upstream. Returns the token of the connection, if this thread carries it.
    fn lead(&mut self, mut client: AdmittedClient, target: Arc<Address>) -> Option<u64> {
        let route = &self.pool.route;
        let connection = match route.connector.begin(&target, &mut client.spare) {
            Some(Ok(ConnectAttempt::Complete(upstream))) => {
                let connected = ConnectedUpstream::new(upstream, target);
                client.connection().set_upstream(connected);
                CarriedConnection::relaying(client, route)
            }
            Some(Ok(ConnectAttempt::Pending(upstream))) => {
                CarriedConnection::connecting(client, ConnectedUpstream::new(upstream, target))
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
            self.pending_upstreams.push_back((due, token));
        }
        if self.connections.get(key).must_end() {
            self.connections.cut();
            return None;
        }
        Some(token)
    }

    /// Handles an event of a socket.
    fn handle_event(&mut self, token: u64, flags: Flags) {
        let Some(key) = self.connections.key(token) else {
            return;
        };
        let connection = self.connections.get_mut(key);
        match token & UPSTREAM {
            0 => connection.relay.client.update(flags),
            _ => connection.relay.upstream.update(flags),
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

    fn turn(&mut self, key: usize, token: u64) {
        let CarriedConnection {
            upstream: Some(upstream),
            admitted,
            relay,
            is_queued,
            ..
        } = self.connections.get_mut(key)
        else {
            return;
        };
        let connection = admitted.connection();
        let turn = relay.turn(admitted.socket(), upstream.socket.as_fd());
        connection.count(turn.received, turn.sent, self.now);
        match turn.next {
            NextTurn::Waits => {}
            NextTurn::Again => {
                if !std::mem::replace(is_queued, true) {
                    self.queued_turns.push(token);
                }
            }
            NextTurn::Ended(ending) => self.end(key, ending),
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
}

/// Parks connections that have just been admitted, except those that were parked when they were accepted.
/// Nothing was received from them yet.
fn park_new<'a>(route: &Route, connections: impl IntoIterator<Item = &'a CarriedConnection>) {
    let Some(keep) = route.admission.keep else {
        return;
    };
    let mut parts = Vec::new();
    for connection in connections {
        if let Some((sockets, target)) = connection.parts()
            && !sockets.0.is_parked_with_upstream()
        {
            sockets.0.set_text(&target.to_string());
            parts.push(sockets);
        }
    }
    keep.park_together(&parts);
}
