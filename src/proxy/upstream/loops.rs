//! Recognising clients that are this proxy itself: its target leads back to it.
//!
//! What can be seen is refused before (`service::leads_to`). A name may lead somewhere else later, and a machine
//! has more addresses than it tells. Without this one client would take every connection there may be: it is led
//! to the proxy itself, which accepts it as a client, and so on.
//!
//! Of upstreams at a port where the proxy listens it is remembered which address the kernel has given our socket.
//! A client with that address is us. Its reset goes through all connections that it came by, back to the client
//! that was the first.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{SockAddr, SockRef, Socket};

use crate::service::leads_to::{destination, is_our_network};
use crate::service::listener::{Arrival, Peer};

/// An address and a port, however it is written.
type Endpoint = (IpAddr, u16);

fn endpoint(address: SocketAddr) -> Endpoint {
    (destination(address.ip()), address.port())
}

/// Recognises clients that are this proxy itself.
#[derive(Debug, Default)]
pub struct LoopDetection {
    /// Whether the target may lead back: it has a port where the proxy listens, or both are AF_UNIX. If not
    /// nothing is done for a connection.
    is_possible: AtomicBool,
    is_told: AtomicBool,
    /// The addresses of our own sockets, and where they lead.
    upstreams: Mutex<HashMap<Endpoint, Endpoint>>,
}

/// An address of ours that is remembered until this is dropped.
#[derive(Debug)]
pub struct Noted {
    detection: Arc<LoopDetection>,
    own: Endpoint,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.detection.upstreams().remove(&self.own);
    }
}

impl LoopDetection {
    /// There is another target; whether it may lead back.
    pub fn expect(&self, is_possible: bool) {
        self.is_possible.store(is_possible, Relaxed);
        self.is_told.store(false, Relaxed);
    }

    /// Whether this is the first time since there is the target.
    pub fn tells(&self) -> bool {
        !self.is_told.swap(true, Relaxed)
    }

    fn upstreams(&self) -> MutexGuard<'_, HashMap<Endpoint, Endpoint>> {
        self.upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a socket and remembers its address, as one step: a thread that accepts it meanwhile finds it.
    pub fn connect(
        self: &Arc<Self>,
        socket: &Socket,
        address: &SockAddr,
    ) -> (io::Result<()>, Option<Noted>) {
        let Some(to) = address
            .as_socket()
            .filter(|_| self.is_possible.load(Relaxed))
        else {
            return (socket.connect(address), None);
        };
        let mut upstreams = self.upstreams();
        let connected = socket.connect(address);
        let own = socket.local_addr().ok().and_then(|own| own.as_socket());
        let noted = own.filter(|own| own.port() != 0).map(|own| {
            upstreams.insert(endpoint(own), endpoint(to));
            Noted {
                detection: Arc::clone(self),
                own: endpoint(own),
            }
        });
        (connected, noted)
    }

    /// Whether a client that was just accepted is this proxy itself.
    pub fn is_own(&self, client: &Arrival) -> bool {
        if !self.is_possible.load(Relaxed) {
            return false;
        }
        match client.peer {
            Peer::Unix(Some(pid)) => u32::try_from(pid) == Ok(std::process::id()),
            Peer::Tcp(peer) => {
                let Some(to) = self.upstreams().get(&endpoint(peer)).copied() else {
                    return false;
                };
                let socket = SockRef::from(&client.socket);
                let at = socket.local_addr().ok().and_then(|at| at.as_socket());
                // The same addresses may be in use in another network.
                at.map(endpoint) == Some(to) && is_our_network(&client.socket) != Some(false)
            }
            Peer::Unix(None) | Peer::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::address::Address;
    use crate::service::listener::{Accepted, Listener};
    use socket2::{Domain, Type};

    /// A listener, its address, and a socket of ours that was connected to it.
    fn connected(detection: &Arc<LoopDetection>) -> (Listener, Socket, Option<Noted>) {
        let address = Address::parse_listen("127.0.0.1:0").unwrap();
        let listener = Listener::bind(&address).unwrap().remove(0);
        let at = SockRef::from(&listener).local_addr().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let (connected, noted) = detection.connect(&socket, &at);
        connected.unwrap();
        (listener, socket, noted)
    }

    fn accept(listener: &Listener) -> Arrival {
        match listener.accept_now().unwrap() {
            Accepted::Client(client) => client,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_that_we_are_is_known_as_long_as_our_socket_is_open() {
        let detection = Arc::new(LoopDetection::default());
        detection.expect(true);
        let (listener, _socket, noted) = connected(&detection);
        let client = accept(&listener);
        assert!(detection.is_own(&client));
        drop(noted);
        assert!(!detection.is_own(&client));
        assert!(detection.upstreams().is_empty());
    }

    #[test]
    fn another_client_of_this_machine_is_not_us() {
        let detection = Arc::new(LoopDetection::default());
        detection.expect(true);
        let (listener, _socket, _noted) = connected(&detection);
        let at = SockRef::from(&listener).local_addr().unwrap();
        let _other = std::net::TcpStream::connect(at.as_socket().unwrap()).unwrap();
        assert!(detection.is_own(&accept(&listener)));
        assert!(!detection.is_own(&accept(&listener)));
    }

    #[test]
    fn nothing_is_remembered_where_the_target_has_no_port_of_ours() {
        let detection = Arc::new(LoopDetection::default());
        let (listener, _socket, noted) = connected(&detection);
        assert!(noted.is_none() && detection.upstreams().is_empty());
        assert!(!detection.is_own(&accept(&listener)));
    }

    #[test]
    fn a_target_is_told_of_once() {
        let detection = LoopDetection::default();
        assert!(detection.tells() && !detection.tells());
        detection.expect(true);
        assert!(detection.tells());
    }
}
