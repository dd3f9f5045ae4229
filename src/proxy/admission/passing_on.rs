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
            unanswered: self.unanswered,
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
        admitted.unanswered = client.unanswered;
        if !client.request.is_empty() {
            let request = client.request.chars().map(|byte| byte as u8).collect();
            admitted.request = UnansweredRequest::new(request, None);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::ConnectionStatus;
    use crate::proxy::admission::{Abort, LockDirectory};
    use crate::service::loopback::pair;
    use std::net::TcpStream;

    fn admission() -> Arc<Admission> {
        let lock = LockDirectory::new(None);
        Arc::new(Admission::new(Arc::default(), 100, None, lock, None))
    }

    /// A client that the predecessor passes on, and its socket.
    fn passed() -> (TcpStream, (OwnedFd, PassedClient)) {
        let (theirs, ours) = pair();
        let connection = ConnectionStatus {
            id: 7,
            peer: theirs.local_addr().unwrap().to_string(),
            upstream: None,
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 0,
            sent_bytes: 0,
            detached: true,
            opaque: None,
        };
        let client = PassedClient {
            connection,
            held: true,
            request: "request".to_owned(),
            unanswered: 2,
        };
        (theirs, (ours.into(), client))
    }

    #[test]
    fn a_client_is_passed_on_as_it_came() {
        let admission = admission();
        let (_peer, (socket, mut client)) = passed();
        for unanswered in [0, 2] {
            client.unanswered = unanswered;
            let copy = socket.try_clone().unwrap();
            let adopted = admission.adopt_passed(std::iter::once((copy, client.clone())));
            let passed = adopted[0].passed();
            assert_eq!(passed.connection.peer, client.connection.peer);
            assert_eq!(
                (passed.held, passed.request, passed.unanswered),
                (true, "request".to_owned(), unanswered)
            );
        }
    }
    #[test]
    fn a_client_that_comes_when_the_successor_has_had_all_ended_is_ended_too() {
        let admission = admission();
        let (_peer, passed_before) = passed();
        let before = admission.adopt_passed(std::iter::once(passed_before));
        assert_eq!(before[0].connection().abort_reason(), None);
        admission.connections.abort_all(Abort::Successor);
        let (_peer, passed_then) = passed();
        let then = admission.adopt_passed(std::iter::once(passed_then));
        for client in before.iter().chain(&then) {
            let why = client.connection().abort_reason();
            assert_eq!(why, Some(Abort::Successor));
        }
    }
}
