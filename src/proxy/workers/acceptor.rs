//! Accepting clients, on the first thread.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::proxy::admission::Attempt;
use crate::proxy::admitted_client::AdmittedClient;
use crate::proxy::keep::Slot;
use crate::proxy::route::Route;
use crate::proxy::upstream::Spare;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::exhausted::Pause;
use crate::service::listener::Listener;

/// The most clients that are accepted before the connections have their turn.
const BATCH: usize = 32;

/// Clients that are parked together: those that were accepted and are not parked are lost if all processes
/// are killed. Parking with one message for each eight costs as much as with one for all, within what can
/// be measured.
const PARKED_TOGETHER: usize = 8;

/// A client that was admitted, and the target at that moment.
pub(super) type Arrived = (AdmittedClient, Arc<Address>);

/// The listeners of the thread that accepts.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Arc<[Listener]>,
    /// For the next client.
    reserve: Reserve,
    /// The clients that are accepted at once: more, the more came the last time. Where one comes after the
    /// other, that spares the call that would find none.
    batch: usize,
    pub(super) pause: Pause,
}

/// What is made ready before a client is accepted.
#[derive(Debug, Default)]
struct Reserve {
    spare: Spare,
    slot: Option<Slot>,
}

impl Acceptor {
    pub(super) fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners,
            reserve: Reserve::default(),
            batch: 1,
            pause: Pause::default(),
        }
    }

    /// Accepts the clients that wait at this listener, a batch at most, and adds them to `arrived`. They are
    /// parked, but for those that are to be handed over.
    pub(super) fn accept(
        &mut self,
        index: usize,
        route: &Route,
        arrived: &mut Vec<Arrived>,
        now: Uptime,
    ) {
        let listeners = Arc::clone(&self.listeners);
        let Some(listener) = listeners.get(index) else {
            return;
        };
        let (mut accepted, mut parked, mut to_hand) = (0, 0, 0);
        while accepted < self.batch {
            let Some(target) = route.target() else {
                break;
            };
            match self.admit(listener, route, &target, to_hand) {
                Ok(Attempt::Admitted(connection)) => {
                    let spare = std::mem::take(&mut self.reserve.spare);
                    let admission = Arc::clone(&route.admission);
                    let client = AdmittedClient::new(connection, spare, admission);
                    to_hand += usize::from(matches!(*target, Address::Handover(_)));
                    arrived.push((client, target));
                    if arrived.len() - parked == PARKED_TOGETHER {
                        park(route, arrived.get(parked..).unwrap_or_default());
                        parked = arrived.len();
                    }
                }
                Ok(Attempt::Own(client)) => route.refuse_own(&client),
                Ok(Attempt::Gone) => {}
                Ok(Attempt::Nobody) => break,
                Ok(Attempt::Exhausted(error)) => {
                    route.has_no_descriptors();
                    self.pause.begin(now, &error, route.admission.open());
                    break;
                }
                Err(error) => {
                    let sentence = format!("nobody can be accepted on {listener}: {error}");
                    route.admission.fail(sentence);
                    break;
                }
            }
            accepted += 1;
        }
        park(route, arrived.get(parked..).unwrap_or_default());
        self.batch = match accepted < self.batch {
            true => 1,
            false => (2 * self.batch).min(BATCH),
        };
    }

    /// Makes ready what a client will need, and accepts one. `to_hand` clients have yet to be handed over.
    fn admit(
        &mut self,
        listener: &Listener,
        route: &Route,
        target: &Address,
        to_hand: usize,
    ) -> io::Result<Attempt> {
        let reserved = match target {
            Address::Handover(_) => route.handover.reserve(to_hand + 1),
            _ => self.reserve.spare.reserve(target),
        };
        if let Err(error) = reserved {
            return Ok(Attempt::Exhausted(error));
        }
        if let (None, Some(keep)) = (self.reserve.slot, route.admission.keep()) {
            self.reserve.slot = keep.claim();
        }
        let loops = &route.connector.loops;
        route
            .admission
            .admit(listener, &mut self.reserve.slot, |client| {
                loops.is_own(client)
            })
    }
}

/// Parks these clients with the sockets of their upstreams. That is before they are connected: to connect
/// wakes the upstream, which may well have this processor next.
fn park(route: &Route, arrived: &[Arrived]) {
    let Some(keep) = route.admission.keep() else {
        return;
    };
    let relayed = arrived
        .iter()
        .filter(|(_, target)| !matches!(**target, Address::Handover(_)));
    let pairs = relayed.filter_map(|(client, target)| {
        let connection = client.connection()?;
        let (slot, upstream) = (connection.slot?, client.spare.for_target(target)?);
        slot.set_text(&target.to_string());
        Some((slot, connection.client.as_fd(), upstream))
    });
    keep.park_ahead(&pairs.collect::<Vec<_>>());
}
