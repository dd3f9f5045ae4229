//! The loop of one thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::acceptor::{Acceptor, ClientWithTarget};
use super::carried_connection::park_new;
use super::carrier::Carrier;
use super::handle::{Message, WorkerHandle};
use super::load::Stopwatch;
use super::outbox::Outbox;
use super::pool::WorkerPool;
use super::token::{DOORS, ENDS, INBOX, ROOM};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::poller::{Events, Flags};

/// A thread that carries connections. The first one accepts, too.
#[derive(Debug)]
pub(super) struct Worker {
    pool: Arc<WorkerPool>,
    handle: Arc<WorkerHandle>,
    pub(super) carrier: Carrier,
    acceptor: Option<Acceptor>,
    /// Empty, to be used again.
    arrivals: Vec<ClientWithTarget>,
    /// Empty, to be used again: tokens.
    new_connections: Vec<u64>,
    outbox: Outbox,
    stopwatch: Stopwatch,
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
            carrier: Carrier::new(Arc::clone(&pool), Arc::clone(&handle)),
            pool,
            handle,
            acceptor: None,
            arrivals: Vec::new(),
            new_connections: Vec::new(),
            stopwatch: Stopwatch::new(),
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
            self.carrier.now = Uptime::now();
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
            self.carrier.take_queued_turns();
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
                Some((token, flags)) => self.carrier.handle_event(token, flags),
            }
        }
    }

    /// How long nothing is due.
    fn limit(&self) -> Option<Duration> {
        let acceptor = self.acceptor.as_ref();
        let pause = acceptor.and_then(|acceptor| acceptor.pause.until());
        let due = [self.carrier.until(), pause, self.outbox.until()];
        let due = due.into_iter().flatten().min()?;
        Some(due.since(Uptime::now()))
    }

    /// Does what is due.
    fn tick(&mut self) {
        self.end_pause();
        self.outbox.tick(self.carrier.now);
        self.carrier.tick();
        let has_measured = self.stopwatch.measure(self.carrier.now, &self.handle.load);
        if has_measured && self.handle.load.is_full() && self.carrier.connections.len() > 1 {
            self.carrier.give_away();
        }
    }

    /// Accepts again, if the pause is over.
    fn end_pause(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if acceptor.pause.is_over(self.carrier.now) {
            // The outbox may still wait for room.
            let admission = &self.pool.route.admission;
            admission.set_accepting_paused(self.outbox.is_blocked());
        }
    }

    /// Returns whether the thread has to end.
    fn read_messages(&mut self) -> bool {
        for message in self.handle.inbox.take() {
            match message {
                Message::Carry(connection) => _ = self.carrier.carry(connection),
                Message::Cut => self.carrier.connections.cut(),
                Message::CloseIdle(limit) => {
                    let admission = &self.pool.route.admission;
                    self.carrier.connections.close_idle(
                        limit,
                        self.carrier.now,
                        &admission.connections,
                    );
                }
                Message::Detach(idle) => self.carrier.detach_idle(idle),
                Message::PassOn => self.carrier.pass_on_all(),
                Message::Attach(threads) => self.carrier.attach_all(threads),
                Message::Returned => self.carrier.returned_without_connection(),
                Message::EndDetached => self.carrier.connections.end_all_detached(),
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
        acceptor.accept(index, &self.pool.route, &mut arrivals, self.carrier.now);
        let mut tokens = std::mem::take(&mut self.new_connections);
        for (client, target) in arrivals.drain(..) {
            match *target {
                Address::Handover(_) => self.outbox.add(client, target, self.carrier.now),
                _ => tokens.extend(self.carrier.lead(client, target)),
            }
        }
        self.arrivals = arrivals;
        let keys = tokens
            .iter()
            .filter_map(|token| self.carrier.connections.key(*token));
        park_new(
            &self.pool.route,
            keys.map(|key| self.carrier.connections.get(key)),
        );
        tokens.clear();
        self.new_connections = tokens;
        self.outbox.flush(self.carrier.now);
    }
}
