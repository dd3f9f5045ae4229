//! Handing clients over, on the first thread: those who were let in together go together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::worker::Worker;
use super::{ENDS, ROOM};
use crate::proxy::client::serve_client;
use crate::proxy::handover::{NotNow, Sender, come_back};
use crate::proxy::passed::Passed;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::handover::wire::CLIENTS_MAX;
use crate::service::poller::{Events, Flags};

/// How long clients that find no room keep others from being accepted.
const BURST: Duration = Duration::from_millis(100);

/// Clients that are about to be handed over.
#[derive(Debug, Default)]
pub(super) struct Handing {
    clients: Vec<Passed>,
    /// Where to.
    target: Option<Arc<Address>>,
    /// They have found no room. Nobody is accepted meanwhile: so a burst of clients waits where it
    /// waits at no cost, and in order.
    full: Option<Full>,
}

/// There was no room.
#[derive(Debug)]
struct Full {
    sender: Arc<Sender>,
    /// Until then it is waited for here.
    until: Uptime,
}

impl Handing {
    /// How many are about to be handed over.
    pub(super) fn together(&self) -> usize {
        self.clients.len()
    }

    /// Whether there was no room.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// When somebody has waited for too long.
    pub(super) fn until(&self) -> Option<Uptime> {
        self.full.as_ref().map(|full| full.until)
    }
}

impl Worker {
    /// Hears of connections that were handed over and have ended.
    pub(super) fn attends(&self) -> io::Result<()> {
        self.post.poller.add(&self.proxy.handover, ENDS, Flags::IN)
    }

    /// Some have ended.
    pub(super) fn hear_of_ends(&mut self, events: &mut Events) {
        let ended = self.proxy.handover.ended(events);
        ended.connections.into_iter().for_each(come_back);
        self.proxy.orphans_closed(ended.orphans);
    }

    /// This client goes there, with those who are let in with it.
    pub(super) fn hand_over_soon(&mut self, passed: Passed, target: Arc<Address>) {
        // The target can change between two of them.
        if self.handing.target.as_ref() != Some(&target) {
            self.hand_over();
            if self.handing.is_full() {
                self.wait_elsewhere();
            }
            self.handing.target = Some(target);
        }
        self.handing.clients.push(passed);
        if self.handing.clients.len() == CLIENTS_MAX {
            self.hand_over();
        }
    }

    /// Hands over whoever is about to be, if there is room.
    pub(super) fn hand_over(&mut self) {
        if self.handing.clients.is_empty() || self.handing.full.is_some() {
            return;
        }
        let Some(Address::Handover(path)) = self.handing.target.as_deref() else {
            return;
        };
        match self
            .proxy
            .handover
            .hand_at_once(path, &mut self.handing.clients)
        {
            Ok(()) => {}
            Err(NotNow::Full(sender)) => self.wait_for_room(sender),
            Err(NotNow::Wait) => self.wait_elsewhere(),
        }
    }

    fn wait_for_room(&mut self, sender: Arc<Sender>) {
        if self.post.poller.add(&*sender, ROOM, Flags::OUT).is_err() {
            return self.wait_elsewhere();
        }
        self.handing.clients.iter().for_each(Passed::park);
        self.proxy.set_accepting_paused(true);
        let until = self.now + BURST;
        self.handing.full = Some(Full { sender, until });
    }

    /// There may be room now.
    pub(super) fn hand_over_again(&mut self) {
        let Some(full) = &self.handing.full else {
            return;
        };
        let Some(turn) = full.sender.at_once() else {
            return self.wait_elsewhere();
        };
        match self.proxy.handover.hand(&turn, &mut self.handing.clients) {
            Ok(()) => self.accept_again(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.wait_elsewhere(),
        }
    }

    /// They have waited for too long, if it is that late.
    pub(super) fn look_after_those_to_hand(&mut self) {
        if self.handing.until().is_some_and(|until| until <= self.now) {
            self.wait_elsewhere();
        }
    }

    /// They wait by themselves, and others are accepted to wait with them.
    pub(super) fn wait_elsewhere(&mut self) {
        let are_parked = self.handing.is_full();
        for passed in self.handing.clients.drain(..) {
            if !are_parked {
                passed.park();
            }
            self.runtime.spawn(serve_client(passed));
        }
        self.accept_again();
    }

    fn accept_again(&mut self) {
        if let Some(full) = self.handing.full.take() {
            self.post.poller.remove(&*full.sender);
            self.proxy.set_accepting_paused(false);
        }
    }
}
