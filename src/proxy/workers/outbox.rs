//! Handing clients over, on the first thread: those that were accepted together go together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;
use super::post::Post;
use super::token::ROOM;
use crate::proxy::admitted_client::AdmittedClient;
use crate::proxy::handover::{NotNow, Sender};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::handover::wire::CLIENTS_MAX;
use crate::service::poller::Flags;

/// How long clients that find no room keep others from being accepted.
const BURST: Duration = Duration::from_millis(100);

/// Clients that are about to be handed over.
#[derive(Debug)]
pub(super) struct Outbox {
    crew: Arc<Crew>,
    post: Arc<Post>,
    clients: Vec<AdmittedClient>,
    target: Option<Arc<Address>>,
    /// The clients have found no room. None is accepted meanwhile: so a burst of clients waits where it
    /// waits at no cost, and in order.
    blocked: Option<Blocked>,
}

/// There was no room.
#[derive(Debug)]
struct Blocked {
    sender: Arc<Sender>,
    /// Until then the clients wait here.
    until: Uptime,
}

impl Outbox {
    pub(super) fn new(crew: Arc<Crew>, post: Arc<Post>) -> Self {
        Self {
            crew,
            post,
            clients: Vec::new(),
            target: None,
            blocked: None,
        }
    }

    /// Whether there was no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// When the clients have waited for too long.
    pub(super) fn until(&self) -> Option<Uptime> {
        self.blocked.as_ref().map(|blocked| blocked.until)
    }

    /// Adds a client that goes to `target`.
    pub(super) fn add(&mut self, client: AdmittedClient, target: Arc<Address>, now: Uptime) {
        // The target can change between two of them.
        if self.target.as_ref() != Some(&target) {
            self.flush(now);
            if self.is_blocked() {
                self.give_up();
            }
            self.target = Some(target);
        }
        self.clients.push(client);
        if self.clients.len() == CLIENTS_MAX {
            self.flush(now);
        }
    }

    /// Hands the clients over, if there is room.
    pub(super) fn flush(&mut self, now: Uptime) {
        if self.clients.is_empty() || self.is_blocked() {
            return;
        }
        let Some(Address::Handover(path)) = self.target.as_deref() else {
            return;
        };
        match self
            .crew
            .route
            .handover
            .hand_at_once(path, &mut self.clients)
        {
            Ok(()) => {}
            Err(NotNow::Full(sender)) => self.wait_for_room(sender, now),
            Err(NotNow::Wait) => self.give_up(),
        }
    }

    fn wait_for_room(&mut self, sender: Arc<Sender>, now: Uptime) {
        if self.post.poller.add(&*sender, ROOM, Flags::OUT).is_err() {
            return self.give_up();
        }
        self.clients.iter().for_each(AdmittedClient::park);
        self.crew.route.admission.set_accepting_paused(true);
        let until = now + BURST;
        self.blocked = Some(Blocked { sender, until });
    }

    /// There may be room now.
    pub(super) fn try_again(&mut self) {
        let Some(blocked) = &self.blocked else {
            return;
        };
        let Some(turn) = blocked.sender.at_once() else {
            return self.give_up();
        };
        match self.crew.route.handover.hand(&turn, &mut self.clients) {
            Ok(()) => self.accept_again(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.give_up(),
        }
    }

    /// The clients have waited for too long, if it is that late.
    pub(super) fn tick(&mut self, now: Uptime) {
        if self.until().is_some_and(|until| until <= now) {
            self.give_up();
        }
    }

    /// Has each client wait by itself, and others be accepted to wait with them.
    pub(super) fn give_up(&mut self) {
        let are_parked = self.is_blocked();
        for client in self.clients.drain(..) {
            if !are_parked {
                client.park();
            }
            self.crew.wait(client);
        }
        self.accept_again();
    }

    fn accept_again(&mut self) {
        if let Some(blocked) = self.blocked.take() {
            self.post.poller.remove(&*blocked.sender);
            self.crew.route.admission.set_accepting_paused(false);
        }
    }
}
