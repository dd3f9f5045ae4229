//! Detached clients that a process passes on to its successor, as the two tell them to each other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::admitted_client::AdmittedClient;
use super::connections::Connection;
use super::entrance::Admission;
use super::unanswered_request::UnansweredRequest;
use crate::interface::PassedClient;
use crate::proxy::keep::Slot;
use crate::proxy::upstream::Spare;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::listener::{Arrival, Peer};

impl AdmittedClient {
    /// What the successor has to know of this client, which is detached.
    pub fn passed(&self) -> PassedClient {
        PassedClient {
            connection: self.connection().status(Uptime::now()),
            held: self.is_held,
            request: self
                .request
                .bytes()
                .iter()
                .copied()
                .map(char::from)
                .collect(),
        }
    }
}

impl Admission {
    /// Counts detached clients that the predecessor has passed on, instead of there.
    pub fn adopt_passed(
        self: &Arc<Self>,
        passed: impl Iterator<Item = (OwnedFd, PassedClient)>,
    ) -> Vec<AdmittedClient> {
        let clients: Vec<_> = passed
            .map(|(socket, client)| self.admit_passed(socket, client))
            .collect();
        self.with_gate(|gate, store| {
            for client in &clients {
                client.connection().set_detached(true);
            }
            ((), gate.adopt_passed(clients.len(), Uptime::now(), store))
        });
        self.wakers.count_changed();
        clients.iter().for_each(AdmittedClient::park);
        clients
    }

    fn admit_passed(self: &Arc<Self>, socket: OwnedFd, client: PassedClient) -> AdmittedClient {
        let mut arrival = Arrival::of(socket);
        if let Ok(address) = client.connection.peer.parse() {
            // The kernel has forgotten it if the client has left.
            arrival.peer = Peer::Tcp(address);
        }
        // Nothing is under way: closing it is no reset.
        ending::close_orderly(&arrival.socket);
        let slot = self.slot_for(&arrival, &client);
        let connection = self.connections.adopt(arrival, slot, &client.connection);
        log(&connection, client.connection.id);
        let mut admitted = AdmittedClient::new(connection, Spare::default(), Arc::clone(self));
        admitted.is_held = client.held;
        if !client.request.is_empty() {
            let request = client.request.chars().map(|byte| byte as u8).collect();
            admitted.request = UnansweredRequest::new(request, None);
            admitted.unanswered = 1;
        }
        admitted
    }

    /// A slot of the table, if connections are kept. One whose request is about to be repeated has none.
    fn slot_for(&self, arrival: &Arrival, client: &PassedClient) -> Option<Slot> {
        let keep = self.keep.filter(|_| client.request.is_empty())?;
        let slot = keep.claim()?;
        let status = &client.connection;
        let carried = (status.received_bytes, status.sent_bytes);
        let begun = slot.begin_passed(arrival.socket.as_fd(), carried, client.held);
        if begun.is_ok() {
            return Some(slot);
        }
        keep.release(slot);
        None
    }
}

fn log(connection: &Connection, number_there: u64) {
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {}, which is detached, was number {number_there} of the process before",
        connection.id, connection.peer
    );
}
