//! The loop of one thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::acceptor::{Acceptor, Arrived};
use super::carried::CarriedConnections;
use super::crew::Crew;
use super::load::Stopwatch;
use super::open::Open;
use super::outbox::Outbox;
use super::post::{Message, Post};
use super::token::{DOORS, ENDS, INBOX, ROOM, UPSTREAM};
use crate::proxy::admitted_client::AdmittedClient;
use crate::proxy::broken::deliver_the_rest;
use crate::proxy::connections::{Metered, Side, log};
use crate::proxy::relay::{Ending, Turn};
use crate::proxy::returns::{Return, come_back};
use crate::proxy::route::Route;
use crate::proxy::upstream::{self, Begun, Connected};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::poller::{Events, Flags};

/// Connections that have carried something since then make work.
const LATELY_USEC: u64 = 50_000;

/// A thread that carries connections. The first one accepts, too.
#[derive(Debug)]
pub(super) struct Worker {
    crew: Arc<Crew>,
    post: Arc<Post>,
    pub(super) carried: CarriedConnections,
    /// Connections that have another turn to come.
    again: Vec<u64>,
    /// Upstreams that have yet to answer, and until when they may.
    connecting: VecDeque<(Uptime, u64)>,
    acceptor: Option<Acceptor>,
    arrived: Vec<Arrived>,
    /// The tokens of connections that were just admitted.
    admitted: Vec<u64>,
    outbox: Outbox,
    stopwatch: Stopwatch,
    /// When the events came that are being looked at.
    now: Uptime,
}

/// What one wait of epoll(7) has brought, but for the connections.
#[derive(Default)]
struct Happenings {
    messages: bool,
    ends: bool,
    room: bool,
    /// Listeners where clients wait.
    doors: Vec<u64>,
}

impl Worker {
    pub(super) fn new(crew: Arc<Crew>, post: Arc<Post>) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&crew), Arc::clone(&post)),
            carried: CarriedConnections::new(Arc::clone(&post)),
            crew,
            post,
            again: Vec::new(),
            connecting: VecDeque::new(),
            acceptor: None,
            arrived: Vec::new(),
            admitted: Vec::new(),
            stopwatch: Stopwatch::new(),
            now: Uptime::now(),
        }
    }

    /// Makes it the one that accepts, and that hears of connections that were handed over.
    ///
    /// # Errors
    ///
    /// When there are too many watches.
    pub(super) fn accepts(&mut self) -> io::Result<()> {
        let route = &self.crew.route;
        self.acceptor = Some(Acceptor::new(route.admission.backlog.listeners()));
        self.post.poller.add(&route.handover, ENDS, Flags::IN)
    }

    /// Accepts and carries until it is told to end.
    pub(super) fn run(&mut self) {
        let post = Arc::clone(&self.post);
        self.stopwatch = Stopwatch::new();
        let mut events = Events::new();
        let mut happenings = Happenings::default();
        loop {
            if let Err(error) = post.poller.wait(&mut events, self.limit()) {
                // epoll(7) has no error that could come here.
                let sentence = format!("a thread that carries cannot wait any more: {error}");
                return self.crew.route.admission.fail(sentence);
            }
            self.now = Uptime::now();
            self.look_at(&events, &mut happenings);
            if std::mem::take(&mut happenings.ends) {
                self.hear_of_ends(&mut events);
            }
            if std::mem::take(&mut happenings.room) {
                self.outbox.try_again();
            }
            // Behind the events, which are of connections that have their places by now.
            while let Some(door) = happenings.doors.pop() {
                self.accept(door as usize);
            }
            if std::mem::take(&mut happenings.messages) && self.read_messages() {
                return;
            }
            for token in std::mem::take(&mut self.again) {
                if let Some(key) = self.carried.key(token) {
                    self.carried.get_mut(key).is_queued = false;
                    self.turn(key, token);
                }
            }
            self.tick();
        }
    }

    fn look_at(&mut self, events: &Events, happenings: &mut Happenings) {
        for index in 0..events.len() {
            match events.get(index) {
                None => {}
                Some((INBOX, _)) => happenings.messages = true,
                Some((ENDS, _)) => happenings.ends = true,
                Some((ROOM, _)) => happenings.room = true,
                Some((token, _)) if token >= DOORS => happenings.doors.push(token - DOORS),
                Some((token, flags)) => self.hear(token, flags),
            }
        }
    }

    /// How long nothing needs to be done.
    fn limit(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let attempt = self.connecting.front().map(|(due, _)| *due);
        let pause = self
            .acceptor
            .as_ref()
            .and_then(|acceptor| acceptor.pause.until());
        let due = [attempt, pause, self.outbox.until()];
        let due = due.into_iter().flatten().min()?;
        Some(due.since(Uptime::now()))
    }

    /// Does what is due.
    fn tick(&mut self) {
        self.end_pause();
        self.outbox.tick(self.now);
        while let Some((due, token)) = self.connecting.front().copied() {
            let connecting = self
                .carried
                .key(token)
                .filter(|key| self.carried.get(*key).is_connecting());
            match connecting {
                Some(_) if due > self.now => break,
                Some(key) => self.try_again(key),
                None => {}
            }
            self.connecting.pop_front();
        }
        let looked = self.stopwatch.look(self.now, &self.post.load);
        if looked && self.post.load.is_full() && self.carried.len() > 1 {
            self.give_away();
        }
    }

    /// Accepts again, if the pause is over.
    fn end_pause(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.pause.is_over(self.now)
        {
            // There may still be no room where clients are handed over to.
            let admission = &self.crew.route.admission;
            admission.set_accepting_paused(self.outbox.is_blocked());
        }
    }

    /// Whether it has been told to end.
    fn read_messages(&mut self) -> bool {
        for message in self.post.inbox.take() {
            match message {
                Message::Carry(open) => _ = self.keep(open),
                Message::Cut => self.carried.cut(),
                Message::Echo => self.post.load.answer(),
                Message::Retire => {
                    self.acceptor = None;
                    self.outbox.give_up();
                }
                Message::Stop => return true,
            }
        }
        false
    }

    /// Hears of connections that were handed over and have ended.
    fn hear_of_ends(&mut self, events: &mut Events) {
        let ended = self.crew.route.handover.ended(events);
        for client in ended.connections {
            if let Return::Again(pause, client) = come_back(client, &self.crew.route) {
                self.crew.wait_after(pause, client);
            }
        }
        for _ in 0..ended.orphans {
            self.crew.route.admission.closed();
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
        let mut arrived = std::mem::take(&mut self.arrived);
        acceptor.accept(index, &self.crew.route, &mut arrived, self.now);
        // Both are kept for the next time: accepting allocates nothing of its own.
        let mut admitted = std::mem::take(&mut self.admitted);
        for (client, target) in arrived.drain(..) {
            match *target {
                Address::Handover(_) => self.outbox.add(client, target, self.now),
                _ => admitted.extend(self.lead(client, target)),
            }
        }
        self.arrived = arrived;
        let keys = admitted.iter().filter_map(|token| self.carried.key(*token));
        park_new(&self.crew.route, keys.map(|key| self.carried.get(key)));
        admitted.clear();
        self.admitted = admitted;
        self.outbox.flush(self.now);
    }

    /// Leads a client to its upstream. Returns its token, if it is carried here.
    fn lead(&mut self, mut client: AdmittedClient, target: Arc<Address>) -> Option<u64> {
        let route = &self.crew.route;
        let open = match route.connector.begin(&target, &mut client.spare) {
            Some(Ok(Begun::Decided(upstream))) => {
                client.is_connected(Connected::new(upstream, target));
                Open::relaying(client, route)
            }
            Some(Ok(Begun::Pending(upstream))) => {
                Open::connecting(client, Connected::new(upstream, target))
            }
            Some(Err(_)) | None => {
                client.park();
                self.crew.wait(client);
                return None;
            }
        };
        match self.crew.choose(&self.post) {
            post if Arc::ptr_eq(&post, &self.post) => self.keep(Box::new(open)),
            post => {
                park_new(&self.crew.route, [&open]);
                post.inbox.post(Message::Carry(Box::new(open)));
                None
            }
        }
    }

    /// Carries this connection from now on. Returns its token, unless it has ended already.
    pub(super) fn keep(&mut self, open: Box<Open>) -> Option<u64> {
        let is_connecting = open.is_connecting();
        let (key, token) = self.carried.add(open)?;
        if is_connecting {
            let due = self.now + upstream::ATTEMPT.min(self.crew.route.patience());
            self.connecting.push_back((due, token));
        }
        if self.carried.get(key).must_end() {
            self.carried.cut();
            return None;
        }
        Some(token)
    }

    /// epoll(7) reports something of a socket.
    fn hear(&mut self, token: u64, flags: Flags) {
        let Some(key) = self.carried.key(token) else {
            return;
        };
        let side = match token & UPSTREAM {
            0 => Side::Client,
            _ => Side::Upstream,
        };
        let open = self.carried.get_mut(key);
        open.tell(side, flags);
        if open.is_connecting() {
            if open.relay.upstream.is_broken() {
                return self.try_again(key);
            }
            if open.relay.upstream.is_writable() {
                open.connected(&self.crew.route);
            } else {
                // The client has gone.
                if open.relay.client.is_broken() {
                    self.carried.reset(key);
                }
                return;
            }
        }
        self.turn(key, token & !UPSTREAM);
    }

    fn turn(&mut self, key: usize, token: u64) {
        let open = self.carried.get_mut(key);
        let Some(connection) = open.admitted.connection() else {
            return;
        };
        let Some(upstream) = connection.upstream.get() else {
            return;
        };
        let meter = Metered {
            connection,
            now: self.now,
        };
        let client = connection.client.as_fd();
        match open.relay.turn(client, upstream.socket.as_fd(), &meter) {
            Turn::Waits => {}
            Turn::Again => {
                if !std::mem::replace(&mut open.is_queued, true) {
                    self.again.push(token);
                }
            }
            Turn::Ended(ending) => self.end(key, ending),
        }
    }

    fn end(&mut self, key: usize, ending: Ending) {
        let (broken, kind) = match ending {
            Ending::Orderly => {
                let open = self.carried.take_ended(key);
                if let Some(connection) = open.connection() {
                    log::ended(connection);
                    connection.has_finished();
                }
                return;
            }
            Ending::ClientBroken(kind) => (Side::Client, kind),
            Ending::UpstreamBroken(kind) => (Side::Upstream, kind),
        };
        // What the relay holds can go nowhere any more, and is given back behind the connection all the same.
        let Open {
            admitted, relay, ..
        } = *self.carried.take(key);
        self.crew.spawn(async move {
            deliver_the_rest(admitted, broken, kind).await;
            drop(relay);
        });
    }

    /// The upstream has not answered: the runtime goes on trying.
    fn try_again(&mut self, key: usize) {
        let open = self.carried.take(key);
        // Before the upstream's socket is closed: it is not to be taken for the upstream.
        open.admitted.park();
        self.crew.wait(open.not_connected());
    }

    /// Has another thread carry half of the connections that make work, if one has time.
    pub(super) fn give_away(&mut self) {
        let Some(post) = self.crew.another(&self.post) else {
            return;
        };
        let lately = Uptime::from_micros(self.now.as_micros().saturating_sub(LATELY_USEC));
        for key in self.carried.half_of_active(lately) {
            let mut open = self.carried.take(key);
            open.is_queued = false;
            post.inbox.post(Message::Carry(open));
        }
    }
}

/// Parks connections that have just been admitted, but for those that were parked when they were accepted.
/// Nothing was received from them yet.
fn park_new<'a>(route: &Route, open: impl IntoIterator<Item = &'a Open>) {
    let Some(keep) = route.admission.keep() else {
        return;
    };
    let mut parts = Vec::new();
    for open in open {
        if let (Some(pair), Some(target)) = (open.parts(), open.target())
            && !pair.0.is_parked_with_upstream()
        {
            pair.0.set_text(&target.to_string());
            parts.push(pair);
        }
    }
    keep.park_together(&parts);
}
