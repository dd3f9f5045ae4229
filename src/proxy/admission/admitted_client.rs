use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connections::Connection;
use super::entrance::Admission;
use super::unanswered_request::UnansweredRequest;
use crate::proxy::upstream::{Spare, pause_after};
use crate::service::address::Address;

/// A client that was admitted: counted until this is dropped, after its sockets are closed.
#[derive(Debug)]
pub struct AdmittedClient {
    connection: Arc<Connection>,
    pub spare: Spare,
    /// When its wait for an upstream began: when it was accepted. It begins anew in the next process, and with the
    /// first return from a handover, because no attempt was made in between.
    pub wait_start: Instant,
    /// How often it has returned from a handover.
    returns: u32,
    /// A request that its upstream did not answer, to be sent again to the next one.
    pub request: UnansweredRequest,
    /// How many upstreams in a row have ended without an answer.
    pub unanswered: u8,
    /// Whether it was without an upstream when the gate closed, and needs one: it gets one when the gate opens, also if
    /// it says nothing.
    pub is_held: bool,
    pub rest: RestOfRequest,
    /// Dropped after the connection.
    count: Count,
}

/// Whether a client without an upstream has sent a part of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestOfRequest {
    #[default]
    NotMissing,
    /// It has, and gets no upstream before the rest has come or the time for that is over.
    Awaited,
    /// The time is over: the part passes as it is.
    Late,
}

/// One of the connections that the gate counts.
#[derive(Debug)]
struct Count {
    admission: Arc<Admission>,
    /// Whether it is detached, once it ends.
    is_detached: bool,
}

impl AdmittedClient {
    /// The client of a connection that is counted already.
    pub fn new(connection: Arc<Connection>, spare: Spare, admission: Arc<Admission>) -> Self {
        Self {
            connection,
            spare,
            wait_start: Instant::now(),
            returns: 0,
            request: UnansweredRequest::default(),
            unanswered: 0,
            is_held: false,
            rest: RestOfRequest::default(),
            count: Count {
                admission,
                is_detached: false,
            },
        }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.client.as_fd()
    }

    /// The client was handed over, with the token of this slot.
    pub fn set_handed_over(&self, slot: u32, target: &Arc<Address>) {
        if self.connection.set_handed_over(slot, Arc::clone(target)) {
            self.count.admission.connections.cut_later(slot);
        }
    }

    /// Counts a return from a handover unserved. Returns the pause before the next handover; `None` once
    /// `patience` is over, as with a receiver that hangs up each time.
    pub fn handover_pause(&mut self, patience: Option<Duration>) -> Option<Duration> {
        if self.returns == 0 {
            self.wait_start = Instant::now();
        }
        let pause = pause_after(self.returns);
        self.returns += 1;
        let is_over = patience.is_some_and(|patience| self.wait_start.elapsed() >= patience);
        (!is_over).then_some(pause)
    }

    /// Parks the sockets, so that they outlive the process.
    pub fn park(&self) {
        let (Some(keep), Some(slot)) = (self.count.admission.keep, self.connection.slot) else {
            return;
        };
        match self.connection.upstream() {
            Some(upstream) => {
                slot.set_text(&upstream.target.to_string());
                keep.park(slot, self.socket(), upstream.socket.as_fd());
            }
            None => _ = keep.park_client(slot, self.socket()),
        }
    }
}

impl Drop for AdmittedClient {
    fn drop(&mut self) {
        self.count.is_detached = self.connection.is_detached();
        let admission = &self.count.admission;
        admission.remove(&self.connection);
        debug_assert!(
            admission.is_leaving() || Arc::strong_count(&self.connection) == 1,
            "somebody else keeps its sockets open"
        );
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let admission = &self.admission;
        match self.is_detached {
            _ if admission.is_leaving() => {}
            true => admission.detached_gone(),
            false => admission.closed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::GateState;
    use crate::proxy::admission::{
        Abort, Attaching, CallerId, Gate, LockDirectory, LockRequest, Mode, Outcome,
    };
    use crate::proxy::requests::Opaque;
    use crate::service::client_socket::ClientSocket;
    use crate::service::clock::Uptime;
    use crate::service::listener::{Arrival, Peer};
    use crate::service::loopback::pair;
    use crate::service::stream::Family;
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use tempfile::TempDir;

    const LOCK: LockRequest = LockRequest {
        mode: Mode::Wait,
        reason: None,
        realtime_usec: 0,
        timeout: None,
        progress_timeout: None,
        lease: None,
        at_lease_end: None,
        force_after: None,
        close_idle: None,
    };

    /// A gate with a target that has let these many clients in, and the other ends of their connections.
    fn admission(clients: usize) -> (Arc<Admission>, Vec<(AdmittedClient, TcpStream)>, TempDir) {
        let directory = TempDir::new().unwrap();
        let lock = LockDirectory::new(Some(directory.path()));
        let admission = Arc::new(Admission::new(Arc::default(), 100, None, lock, None));
        admission.with_gate_silently(|gate| gate.set_has_target(true));
        let clients = (0..clients).map(|_| {
            let (theirs, ours) = pair();
            admission.with_gate_silently(Gate::accepted);
            let client = Arrival {
                socket: ClientSocket::accepted(OwnedFd::from(ours)),
                peer: Peer::Tcp(theirs.local_addr().unwrap()),
                family: Family::Tcp,
            };
            let connection = admission.connections.add(client, None);
            let client = AdmittedClient::new(connection, Spare::default(), Arc::clone(&admission));
            (client, theirs)
        });
        let clients = clients.collect();
        (admission, clients, directory)
    }

    fn counts(admission: &Admission) -> (GateState, usize, usize) {
        let progress = admission.progress();
        (progress.state, progress.open, progress.detached)
    }

    fn outcome(admission: &Admission, caller: CallerId) -> Option<Outcome> {
        admission.drain_progress(caller).1
    }

    #[test]
    fn a_client_counts_as_what_it_is_until_it_has_left() {
        let (admission, mut clients, _directory) = admission(3);
        assert_eq!(counts(&admission), (GateState::Open, 3, 0));
        for (client, _) in &clients[1..] {
            admission.detached(client.connection());
        }
        assert_eq!(counts(&admission), (GateState::Open, 1, 2));
        assert!(admission.try_attach(clients[1].0.connection()));
        assert_eq!(counts(&admission), (GateState::Open, 2, 1));
        clients.pop();
        assert_eq!(counts(&admission), (GateState::Open, 2, 0), "the detached");
        clients.pop();
        clients.pop();
        assert_eq!(counts(&admission), (GateState::Open, 0, 0));
    }

    #[test]
    fn a_lock_is_granted_when_all_are_detached_and_then_none_is_attached_until_it_is_over() {
        let (admission, clients, _directory) = admission(1);
        let connection = clients[0].0.connection();
        let caller = admission.lock(LOCK).unwrap();
        assert_eq!(outcome(&admission, caller), None);
        admission.detached(connection);
        assert_eq!(outcome(&admission, caller), Some(Outcome::Drained));
        assert!(!admission.try_attach(connection) && connection.is_detached());
        assert_eq!(counts(&admission), (GateState::Locked, 0, 1));
        assert_eq!(admission.unlock(), None);
        assert!(admission.try_attach(connection) && !connection.is_detached());
        assert_eq!(counts(&admission), (GateState::Open, 1, 0));
    }

    #[test]
    fn the_list_says_who_is_detached_and_who_cannot_be() {
        let (admission, clients, _directory) = admission(3);
        admission.detached(clients[0].0.connection());
        clients[1].0.connection().set_opaque(Opaque::WebSocket);
        let list = admission.connections.list(Uptime::now());
        let list: Vec<_> = list
            .iter()
            .map(|one| (one.detached, one.opaque.as_deref()))
            .collect();
        let opaque = Some("upgraded to websocket");
        assert_eq!(list, [(true, None), (false, opaque), (false, None)]);
    }

    #[test]
    fn each_turn_of_the_gate_is_told_once() {
        let (admission, _clients, _directory) = admission(1);
        let turned = || {
            let mut context = Context::from_waker(Waker::noop());
            pin!(admission.wakers.turned())
                .poll(&mut context)
                .is_ready()
        };
        assert!(turned(), "it has a target");
        assert!(!turned());
        let caller = admission.lock(LOCK).unwrap();
        assert!(turned() && !turned());
        admission.caller_gone(caller);
        assert!(turned() && !turned(), "it was taken back");
        admission.with_gate_silently(Gate::stopping);
        assert!(turned());
        assert_eq!(admission.read_gate(Gate::attaching), Attaching::Never);
    }

    #[test]
    fn a_forced_drain_cuts_off_those_with_an_upstream_and_only_them() {
        let (admission, clients, _directory) = admission(2);
        admission.detached(clients[0].0.connection());
        admission.connections.abort_all(Abort::Forced);
        let reasons: Vec<_> = clients
            .iter()
            .map(|(client, _)| client.connection().abort_reason())
            .collect();
        assert_eq!(reasons, [None, Some(Abort::Forced)]);
        admission.connections.abort_all(Abort::Successor);
        assert!(clients[0].0.connection().abort_reason().is_some());
    }
}
