//! Letting clients in, on the first thread.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::worker::Worker;
use crate::proxy::keep::Slot;
use crate::proxy::passed::Passed;
use crate::proxy::shell::Proxy;
use crate::proxy::upstream::Spare;
use crate::service::address::Address;
use crate::service::exhausted::Pause;
use crate::service::listener::{Accepted, Listener};

/// So many clients are let in before those who are in have their turn.
const AT_A_TIME: usize = 32;

/// So many of them are parked together: those who were accepted and are not parked are lost if all processes
/// are killed. Parking with one message for each eight costs as much as with one for all, within what can
/// be measured.
const PARKED_TOGETHER: usize = 8;

/// The listeners of the thread that accepts.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Arc<[Listener]>,
    /// For the next client.
    next: Next,
    /// So many are let in at once: more, the more came the last time. Where one comes after the
    /// other, that spares the call that would find nobody.
    batch: usize,
    pub(super) pause: Pause,
}

/// What is made ready before a client is accepted.
#[derive(Debug, Default)]
struct Next {
    spare: Spare,
    slot: Option<Slot>,
}

/// What became of the attempt to let a client in.
enum Admission {
    /// It is in, and to be led or handed over there.
    Client(Passed, Arc<Address>),
    /// A client was accepted that had gone already, or that was refused.
    Gone,
    /// Nobody waits, or nobody may pass.
    Nobody,
    /// No descriptors or memory are left.
    Exhausted(io::Error),
}

impl Acceptor {
    pub(super) fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners,
            next: Next::default(),
            batch: 1,
            pause: Pause::default(),
        }
    }
}

impl Worker {
    /// Lets in who waits at this listener.
    pub(super) fn let_in(&mut self, index: usize) {
        let Some(mut acceptor) = self.acceptor.take() else {
            return;
        };
        let (mut admitted, mut parked) = (0, 0);
        while admitted < acceptor.batch
            && !self.handing.is_full()
            && let Some(listener) = acceptor.listeners.get(index)
        {
            let together = self.handing.together();
            match admit(&self.proxy, listener, &mut acceptor.next, together) {
                Ok(Admission::Client(passed, target)) => match &*target {
                    Address::Handover(_) => self.hand_over_soon(passed, target),
                    _ => {
                        self.arrived.push((passed, target));
                        if self.arrived.len() - parked == PARKED_TOGETHER {
                            self.park_ahead(parked);
                            parked = self.arrived.len();
                        }
                    }
                },
                Ok(Admission::Gone) => {}
                Ok(Admission::Nobody) => break,
                Ok(Admission::Exhausted(error)) => {
                    self.proxy.has_no_descriptors();
                    acceptor.pause.begin(self.now, &error, self.proxy.open());
                    break;
                }
                Err(error) => {
                    let sentence = format!("nobody can be accepted on {listener}: {error}");
                    self.proxy.fail(sentence);
                    break;
                }
            }
            admitted += 1;
        }
        self.park_ahead(parked);
        self.lead_those_who_arrived();
        self.hand_over();
        acceptor.batch = match admitted < acceptor.batch {
            true => 1,
            false => (2 * acceptor.batch).min(AT_A_TIME),
        };
        self.acceptor = Some(acceptor);
    }

    /// Parks those who were let in, from this one on. That is before they are led to their upstreams: to
    /// connect wakes the upstream, which may well have this processor next.
    fn park_ahead(&self, first: usize) {
        let (Some(keep), Some(arrived)) = (self.proxy.keep(), self.arrived.get(first..)) else {
            return;
        };
        let pairs = arrived.iter().filter_map(|(passed, target)| {
            let connection = passed.connection()?;
            let (slot, upstream) = (connection.slot?, passed.spare.for_target(target)?);
            slot.set_text(&target.to_string());
            Some((slot, connection.client.as_fd(), upstream))
        });
        keep.park_ahead(&pairs.collect::<Vec<_>>());
    }

    /// Leads those to their upstreams who were let in.
    fn lead_those_who_arrived(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        for (passed, target) in arrived.drain(..) {
            self.welcome(passed, target);
        }
        self.arrived = arrived;
        self.park_new();
    }

    /// Accepts again, if the pause is over.
    pub(super) fn resume(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.pause.is_over(self.now)
        {
            // There may still be no room where clients are handed over to.
            self.proxy.set_accepting_paused(self.handing.is_full());
        }
    }
}

/// Lets one client in and counts it, as one step: nobody can close the gate in between. So many are in
/// that have yet to be handed over.
fn admit(
    proxy: &Arc<Proxy>,
    listener: &Listener,
    next: &mut Next,
    to_hand: usize,
) -> io::Result<Admission> {
    let Some(target) = proxy.target() else {
        return Ok(Admission::Nobody);
    };
    // What it will need is there before it is accepted.
    let reserved = match &*target {
        Address::Handover(_) => proxy.handover.reserve(to_hand + 1),
        _ => next.spare.reserve(&target),
    };
    if let Err(error) = reserved {
        return Ok(Admission::Exhausted(error));
    }
    if let (None, Some(keep)) = (next.slot, proxy.keep()) {
        next.slot = keep.claim();
    }
    // Whoever ends on another thread waits for it, so it is held for no longer than it must.
    let mut gate = proxy.gate();
    if !gate.0.may_accept() {
        return Ok(Admission::Nobody);
    }
    let client = match listener.accept_now()? {
        Accepted::Client(client) => client,
        Accepted::Gone => return Ok(Admission::Gone),
        Accepted::Nobody => return Ok(Admission::Nobody),
        Accepted::Exhausted(error) => return Ok(Admission::Exhausted(error)),
    };
    if proxy.connector.loops.is_own(&client) {
        drop(gate);
        proxy.refuse_own(&client);
        return Ok(Admission::Gone);
    }
    if let Some((source, open)) = proxy.connections.full_source(&client.peer) {
        drop(gate);
        proxy.refuse(client, source, open);
        return Ok(Admission::Gone);
    }
    gate.0.accepted();
    let connection = proxy.connections.add(client, next.slot.take());
    drop(gate);
    proxy.count_changed();
    let spare = std::mem::take(&mut next.spare);
    let passed = Passed::new(connection, spare, Arc::clone(proxy));
    Ok(Admission::Client(passed, target))
}
