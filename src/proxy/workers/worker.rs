//! The loop of one thread.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::runtime::Handle;

use super::acceptor::Acceptor;
use super::doors::DOORS;
use super::handing::Handing;
use super::load::Stopwatch;
use super::open::{Open, Side};
use super::token::{CLIENT, GENERATIONS, UPSTREAM, place, token};
use super::{ENDS, INBOX, Message, Post, ROOM};
use crate::proxy::client::{self, Broken};
use crate::proxy::connections::{Connected, Metered};
use crate::proxy::passed::Passed;
use crate::proxy::relay::{Ending, Turn, WATCHED};
use crate::proxy::shell::Proxy;
use crate::proxy::upstream::{self, Begun};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::listener::Listener;
use crate::service::poller::{Events, Flags};

/// A thread that carries connections.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) proxy: Arc<Proxy>,
    pub(super) post: Arc<Post>,
    /// Where is done what cannot be done at once.
    pub(super) runtime: Handle,
    pub(super) open: Slab<Box<Open>>,
    generation: u32,
    /// Connections that have another turn to come.
    again: Vec<u64>,
    /// Listeners where somebody waits.
    doors: Vec<u64>,
    /// Clients that were just let in, and where they are to be led.
    pub(super) arrived: Vec<(Passed, Arc<Address>)>,
    /// Connections that have just passed.
    unparked: Vec<u64>,
    /// Upstreams that have yet to answer, and until when they may.
    connecting: VecDeque<(Uptime, u64)>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) handing: Handing,
    stopwatch: Stopwatch,
    /// When the events came that are being looked at.
    pub(super) now: Uptime,
}

impl Worker {
    pub(super) fn new(proxy: Arc<Proxy>, post: Arc<Post>, runtime: Handle) -> Self {
        Self {
            proxy,
            post,
            runtime,
            open: Slab::new(),
            generation: 0,
            again: Vec::new(),
            doors: Vec::new(),
            arrived: Vec::new(),
            unparked: Vec::new(),
            connecting: VecDeque::new(),
            acceptor: None,
            handing: Handing::default(),
            stopwatch: Stopwatch::new(),
            now: Uptime::now(),
        }
    }

    /// It is the one that accepts, from these.
    pub(super) fn accepts(&mut self, listeners: Arc<[Listener]>) {
        self.acceptor = Some(Acceptor::new(listeners));
    }

    /// Accepts and carries until it is told to end.
    pub(super) fn run(&mut self) {
        let post = Arc::clone(&self.post);
        self.stopwatch = Stopwatch::new();
        let mut events = Events::new();
        loop {
            if let Err(error) = post.poller.wait(&mut events, self.limit()) {
                // epoll(7) has no error that could come here.
                let sentence = format!("a thread that carries cannot wait any more: {error}");
                return self.proxy.fail(sentence);
            }
            self.now = Uptime::now();
            let (mut has_messages, mut has_ends, mut has_room) = (false, false, false);
            for index in 0..events.len() {
                match events.get(index) {
                    None => {}
                    Some((INBOX, _)) => has_messages = true,
                    Some((ENDS, _)) => has_ends = true,
                    Some((ROOM, _)) => has_room = true,
                    Some((token, _)) if token >= DOORS => self.doors.push(token - DOORS),
                    Some((token, flags)) => self.told(token, flags),
                }
            }
            if has_ends {
                self.hear_of_ends(&mut events);
            }
            if has_room {
                self.hand_over_again();
            }
            // Behind the events, which are of connections that have their places by now.
            while let Some(door) = self.doors.pop() {
                self.let_in(door as usize);
            }
            if has_messages && self.read_messages() {
                return;
            }
            for token in std::mem::take(&mut self.again) {
                if let Some(key) = self.key(token) {
                    self.open[key].is_queued = false;
                    self.turn(key);
                }
            }
            self.look_after();
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
        let due = [attempt, pause, self.handing.until()];
        let due = due.into_iter().flatten().min()?;
        Some(due.since(Uptime::now()))
    }

    fn look_after(&mut self) {
        self.resume();
        self.look_after_those_to_hand();
        while let Some((due, token)) = self.connecting.front().copied() {
            let connecting = self
                .key(token)
                .filter(|key| self.open[*key].is_connecting());
            match connecting {
                Some(_) if due > self.now => break,
                Some(key) => self.try_again(key),
                None => {}
            }
            self.connecting.pop_front();
        }
        let looked = self.stopwatch.look(self.now, &self.post.load);
        if looked && self.post.load.is_full() && self.open.len() > 1 {
            self.give_away();
        }
    }

    /// Whether it has been told to end.
    fn read_messages(&mut self) -> bool {
        for message in self.post.inbox.take() {
            match message {
                Message::Carry(open) => _ = self.keep(open),
                Message::Cut => self.cut(),
                Message::Echo => self.post.load.answer(),
                Message::Retire => {
                    self.acceptor = None;
                    self.wait_elsewhere();
                }
                Message::Stop => return true,
            }
        }
        false
    }

    /// Leads a client that has just passed to its upstream.
    pub(super) fn welcome(&mut self, mut passed: Passed, target: Arc<Address>) {
        let begun = self.proxy.connector.begin(&target, &mut passed.spare);
        let open = match begun {
            Some(Ok(Begun::Decided(upstream))) => {
                passed.is_connected(Connected::new(upstream, target));
                Open::relaying(passed)
            }
            Some(Ok(Begun::Pending(upstream))) => {
                Open::connecting(passed, Connected::new(upstream, target))
            }
            Some(Err(_)) | None => {
                passed.park();
                self.runtime.spawn(client::serve_client(passed));
                return;
            }
        };
        match self.proxy.workers().choose(&self.proxy, &self.post) {
            post if Arc::ptr_eq(&post, &self.post) => {
                let token = self.keep(Box::new(open));
                self.unparked.extend(token);
            }
            post => {
                self.park(&[&open]);
                post.inbox.post(Message::Carry(Box::new(open)));
            }
        }
    }

    /// Has those outlive the process that have just passed. Nothing was received from them yet.
    pub(super) fn park_new(&mut self) {
        if self.proxy.keep().is_some() {
            let keys = self.unparked.iter().filter_map(|token| self.key(*token));
            let open: Vec<&Open> = keys.map(|key| &*self.open[key]).collect();
            self.park(&open);
        }
        self.unparked.clear();
    }

    /// Parks those that were not parked ahead.
    fn park(&self, open: &[&Open]) {
        let Some(keep) = self.proxy.keep() else {
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

    /// Carries this one from now on; its token, unless it has ended already.
    pub(super) fn keep(&mut self, mut open: Box<Open>) -> Option<u64> {
        self.generation = (self.generation + 1) & (GENERATIONS - 1);
        open.generation = self.generation;
        let is_connecting = open.is_connecting();
        let entry = self.open.vacant_entry();
        let key = entry.key();
        let open = entry.insert(open);
        let token = token(key, open.generation);
        let watched = match (open.upstream(), open.client()) {
            (Some(upstream), Some(client)) => {
                let watch = |socket, side| self.post.poller.add(socket, token | side, WATCHED);
                watch(upstream, UPSTREAM).and_then(|()| watch(client, CLIENT))
            }
            _ => Ok(()),
        };
        if let Err(error) = watched {
            if let Some(connection) = open.connection() {
                tracing::error!(
                    CONNECTION_ID = connection.id, PEER = %connection.peer, ERROR = %error,
                    "client {} was given up: its sockets cannot be watched: {error}", connection.peer
                );
            }
            self.abandon(key);
            return None;
        }
        if is_connecting {
            let due = self.now + upstream::ATTEMPT.min(self.proxy.patience());
            self.connecting.push_back((due, token));
        }
        if self.open[key].must_end() {
            self.cut();
            return None;
        }
        Some(token)
    }

    fn key(&self, token: u64) -> Option<usize> {
        let (key, generation) = place(token);
        let open = self.open.get(key)?;
        (open.generation == generation).then_some(key)
    }

    /// epoll(7) tells something of a socket.
    fn told(&mut self, token: u64, flags: Flags) {
        let Some(key) = self.key(token) else {
            return;
        };
        let side = match token & UPSTREAM {
            0 => Side::Client,
            _ => Side::Upstream,
        };
        let open = &mut self.open[key];
        open.tell(side, flags);
        if open.is_connecting() {
            if open.relay.upstream.is_broken() {
                return self.try_again(key);
            }
            if open.relay.upstream.is_writable() {
                open.connected();
            } else {
                // Nobody is left to be served.
                if open.relay.client.is_broken() {
                    self.abandon(key);
                }
                return;
            }
        }
        self.turn(key);
    }

    fn turn(&mut self, key: usize) {
        let open = &mut *self.open[key];
        let Some(connection) = open.passed.connection() else {
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
                    self.again.push(token(key, open.generation));
                }
            }
            Turn::Ended(ending) => self.end(key, ending),
        }
    }

    fn end(&mut self, key: usize, ending: Ending) {
        let open = self.open.remove(key);
        let (broken, kind) = match ending {
            Ending::Orderly => {
                if let Some(connection) = open.connection() {
                    client::tell_ended(connection);
                    connection.has_finished();
                }
                return;
            }
            Ending::ClientBroken(kind) => (Broken::Client, kind),
            Ending::UpstreamBroken(kind) => (Broken::Upstream, kind),
        };
        self.unwatch(&open);
        // What it holds has nobody to go to, and is given back behind the connection all the same.
        let Open { passed, relay, .. } = *open;
        self.runtime.spawn(async move {
            client::deliver_the_rest(passed, broken, kind).await;
            drop(relay);
        });
    }

    /// The upstream has not answered: the runtime goes on trying.
    fn try_again(&mut self, key: usize) {
        let open = self.open.remove(key);
        self.unwatch(&open);
        // Before the upstream's socket is closed: nobody is to take it for the upstream.
        open.passed.park();
        let passed = open.not_connected();
        self.runtime.spawn(client::serve_client(passed));
    }

    /// Both sides are to see a reset.
    fn abandon(&mut self, key: usize) {
        let open = self.open.remove(key);
        self.unwatch(&open);
        open.reset_on_close();
    }

    /// Before another thread watches the sockets.
    pub(super) fn unwatch(&self, open: &Open) {
        for socket in [open.client(), open.upstream()].into_iter().flatten() {
            self.post.poller.remove(socket);
        }
    }

    /// Ends those that are to be ended.
    fn cut(&mut self) {
        let keys: Vec<usize> = self
            .open
            .iter()
            .filter(|(_, open)| open.must_end())
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            if let Some(connection) = self.open[key].connection() {
                client::tell_aborted(connection);
                client::tell_ended(connection);
            }
            self.abandon(key);
        }
    }

    /// How many connections it carries.
    #[cfg(test)]
    pub(super) fn carried(&self) -> usize {
        self.open.len()
    }
}
