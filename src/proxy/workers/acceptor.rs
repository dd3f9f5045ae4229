//! Accepting clients, on the first thread.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::proxy::admission::{AdmitOutcome, AdmittedClient};
use crate::proxy::route::Route;
use crate::proxy::upstream::Spare;
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::exhausted::Pause;
use crate::service::listener::Listener;

/// The most clients that are accepted before the connections have their turn.
const BATCH: usize = 32;

/// Clients that are parked together. A client that is accepted and not parked is lost if all processes are
/// killed. One message for each eight costs as much as one for all, within what can be measured.
const PARKED_TOGETHER: usize = 8;

/// An admitted client, and the target at that moment.
pub(super) type ClientWithTarget = (AdmittedClient, Arc<Address>);

/// The listeners of the thread that accepts.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Arc<[Listener]>,
    /// For the upstream of the next client.
    spare: Spare,
    /// The clients that are accepted at once: more, the more came the last time. Where clients come one
    /// after another, that saves the call that would find none.
    batch: usize,
    /// The pause after descriptors have run out.
    pub(super) pause: Pause,
}

impl Acceptor {
    pub(super) fn new(listeners: Arc<[Listener]>) -> Self {
        Self {
            listeners,
            spare: Spare::default(),
            batch: 1,
            pause: Pause::default(),
        }
    }

    /// Accepts the clients that wait at this listener, a batch at most, and adds them to `arrivals`. They are
    /// parked, except those that are to be handed over.
    pub(super) fn accept(
        &mut self,
        index: usize,
        route: &Route,
        arrivals: &mut Vec<ClientWithTarget>,
        now: Uptime,
    ) {
        let listeners = Arc::clone(&self.listeners);
        let Some(listener) = listeners.get(index) else {
            return;
        };
        let (mut count, mut parked, mut handovers) = (0, 0, 0);
        while count < self.batch {
            let Some(target) = route.target() else {
                break;
            };
            match self.admit(listener, route, &target, handovers) {
                Ok(AdmitOutcome::Admitted(connection)) => {
                    let spare = std::mem::take(&mut self.spare);
                    let admission = Arc::clone(&route.admission);
                    let client = AdmittedClient::new(connection, spare, admission);
                    handovers += usize::from(matches!(*target, Address::Handover(_)));
                    arrivals.push((client, target));
                    if arrivals.len() - parked == PARKED_TOGETHER {
                        park(route, arrivals.get(parked..).unwrap_or_default());
                        parked = arrivals.len();
                    }
                }
                Ok(AdmitOutcome::Own(client)) => route.refuse_own(&client),
                Ok(AdmitOutcome::Full(..) | AdmitOutcome::Gone) => {}
                Ok(AdmitOutcome::NoClient) => break,
                Ok(AdmitOutcome::Exhausted(error)) => {
                    route.has_no_descriptors();
                    self.pause
                        .begin(now, &error, route.admission.open_connections());
                    break;
                }
                Err(error) => {
                    let sentence = format!("nobody can be accepted on {listener}: {error}");
                    route.admission.fail(sentence);
                    break;
                }
            }
            count += 1;
        }
        park(route, arrivals.get(parked..).unwrap_or_default());
        self.batch = match count < self.batch {
            true => 1,
            false => (2 * self.batch).min(BATCH),
        };
    }

    /// Makes ready what a client needs, and accepts one. `handovers` clients have yet to be handed over.
    fn admit(
        &mut self,
        listener: &Listener,
        route: &Route,
        target: &Address,
        handovers: usize,
    ) -> io::Result<AdmitOutcome> {
        let reservation = match target {
            Address::Handover(_) => route.handover.reserve(handovers + 1),
            _ => self.spare.reserve(target),
        };
        if let Err(error) = reservation {
            return Ok(AdmitOutcome::Exhausted(error));
        }
        let loops = &route.connector.loops;
        route
            .admission
            .admit(listener, |client| loops.is_own(client))
    }
}

/// Parks these clients with the sockets of their upstreams, before these connect: that wakes the upstream,
/// which may well get this processor next.
fn park(route: &Route, arrivals: &[ClientWithTarget]) {
    let Some(keep) = route.admission.keep else {
        return;
    };
    let pairs = arrivals.iter().filter_map(|(client, target)| {
        let connection = client.connection();
        let (slot, upstream) = (connection.slot?, client.spare.for_target(target)?);
        slot.set_text(&target.to_string());
        Some((slot, connection.client.as_fd(), upstream))
    });
    keep.park_ahead(&pairs.collect::<Vec<_>>());
}
