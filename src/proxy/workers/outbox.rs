//! Handing clients over, on the first thread: those that were accepted together go together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::handle::WorkerHandle;
use super::pool::WorkerPool;
use super::token::ROOM;
use crate::proxy::admission::AdmittedClient;
use crate::proxy::route::{HandoverError, Sender};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::handover::wire::CLIENTS_MAX;
use crate::service::poller::Flags;

/// How long clients that find no room keep others from being accepted.
const BURST: Duration = Duration::from_millis(100);

/// Clients that are about to be handed over.
#[derive(Debug)]
pub(super) struct Outbox {
    pool: Arc<WorkerPool>,
    handle: Arc<WorkerHandle>,
    clients: Vec<AdmittedClient>,
    target: Option<Arc<Address>>,
    /// There is no room for the clients. No client is accepted meanwhile, so that a burst of clients waits in
    /// the backlog, at no cost and in order.
    blockage: Option<Blockage>,
}

#[derive(Debug)]
struct Blockage {
    sender: Arc<Sender>,
    /// How long the clients wait here.
    until: Uptime,
}

impl Outbox {
    pub(super) fn new(pool: Arc<WorkerPool>, handle: Arc<WorkerHandle>) -> Self {
        Self {
            pool,
            handle,
            clients: Vec::new(),
            target: None,
            blockage: None,
        }
    }

    /// Whether the clients wait for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blockage.is_some()
    }

    /// The time of the next [`Self::tick`].
    pub(super) fn until(&self) -> Option<Uptime> {
        self.blockage.as_ref().map(|blockage| blockage.until)
    }

    /// Adds a client that goes to `target`.
    pub(super) fn add(&mut self, client: AdmittedClient, target: Arc<Address>, now: Uptime) {
        // The target can change between two clients.
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
        let handover = &self.pool.route.handover;
        match handover.hand_over_at_once(path, &mut self.clients) {
            Ok(()) => self.reached(now),
            Err(HandoverError::Full(sender)) => self.wait_for_room(sender, now),
            Err(HandoverError::Wait) => self.give_up(),
        }
    }

    fn reached(&self, now: Uptime) {
        let target = self.target.iter();
        target.for_each(|target| self.pool.route.reached(target, now));
    }

    fn wait_for_room(&mut self, sender: Arc<Sender>, now: Uptime) {
        if self.handle.poller.add(&*sender, ROOM, Flags::OUT).is_err() {
            return self.give_up();
        }
        self.clients.iter().for_each(AdmittedClient::park);
        self.pool.route.admission.set_accepting_paused(true);
        let until = now + BURST;
        self.blockage = Some(Blockage { sender, until });
    }

    /// Hands the clients over if there is room now.
    pub(super) fn try_again(&mut self) {
        let Some(blockage) = &self.blockage else {
            return;
        };
        let Some(permit) = blockage.sender.permit_at_once() else {
            return self.give_up();
        };
        let handover = &self.pool.route.handover;
        match handover.hand_over(&permit, &mut self.clients) {
            Ok(()) => {
                self.reached(Uptime::now());
                self.accept_again();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.give_up(),
        }
    }

    /// Gives up if the clients have waited for too long.
    pub(super) fn tick(&mut self, now: Uptime) {
        if self.until().is_some_and(|until| until <= now) {
            self.give_up();
        }
    }

    /// Lets each client wait by itself, so that others can be accepted.
    pub(super) fn give_up(&mut self) {
        let are_parked = self.is_blocked();
        for client in self.clients.drain(..) {
            if !are_parked {
                client.park();
            }
            self.pool.wait(client);
        }
        self.accept_again();
    }

    fn accept_again(&mut self) {
        if let Some(blockage) = self.blockage.take() {
            self.handle.poller.remove(&*blockage.sender);
            self.pool.route.admission.set_accepting_paused(false);
        }
    }
}
