//! Recognising the proxy as its own client, because its target leads back to it.
//!
//! `service::leads_to` refuses such targets as far as it can, but a name may lead elsewhere later, and a machine
//! has more addresses than can be seen. A single client would take all connections: the proxy connects it to itself,
//! accepts that as a client, and so on.
//!
//! If an upstream has a port where the proxy listens, the address of the proxy's own socket is recorded. A client
//! with that address is the proxy. Its reset passes through all connections of the loop, back to the first client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use socket2::{SockAddr, Socket};

use crate::service::leads_to::{destination, is_our_network};
use crate::service::listener::{Arrival, Peer};
use crate::service::mutex;
use crate::service::socket::local_address;

/// An address in its canonical form, and a port.
type Endpoint = (IpAddr, u16);

fn endpoint(address: SocketAddr) -> Endpoint {
    (destination(address.ip()), address.port())
}

#[derive(Debug, Default)]
pub struct LoopDetection {
    /// Whether the target may lead back: it has a port where the proxy listens, or both are AF_UNIX. Otherwise
    /// nothing is recorded.
    is_possible: AtomicBool,
    is_reported: AtomicBool,
    /// The addresses of the proxy's own sockets, and where they lead.
    upstreams: Mutex<HashMap<Endpoint, Endpoint>>,
}

/// An address of the proxy's own, recorded until this is dropped.
#[derive(Debug)]
pub struct OwnAddress {
    detection: Arc<LoopDetection>,
    own: Endpoint,
}

impl Drop for OwnAddress {
    fn drop(&mut self) {
        self.detection.upstreams().remove(&self.own);
    }
}

impl LoopDetection {
    /// Begins anew for a target that may lead back if `is_possible`.
    pub fn expect(&self, is_possible: bool) {
        self.is_possible.store(is_possible, Relaxed);
        self.is_reported.store(false, Relaxed);
    }

    /// Whether the loop is to be reported: once for each target.
    pub fn is_report_due(&self) -> bool {
        !self.is_reported.swap(true, Relaxed)
    }

    fn upstreams(&self) -> MutexGuard<'_, HashMap<Endpoint, Endpoint>> {
        mutex::lock(&self.upstreams)
    }

    /// Connects a socket and records its address as one step, so that a thread that accepts it meanwhile finds it.
    pub fn connect(
        self: &Arc<Self>,
        socket: &Socket,
        address: &SockAddr,
    ) -> (io::Result<()>, Option<OwnAddress>) {
        let Some(to) = address
            .as_socket()
            .filter(|_| self.is_possible.load(Relaxed))
        else {
            return (socket.connect(address), None);
        };
        let mut upstreams = self.upstreams();
        let connected = socket.connect(address);
        let own = local_address(socket).filter(|own| own.port() != 0);
        let own = own.map(|own| {
            upstreams.insert(endpoint(own), endpoint(to));
            OwnAddress {
                detection: Arc::clone(self),
                own: endpoint(own),
            }
        });
        (connected, own)
    }

    /// Whether a client that was just accepted is this proxy itself.
    pub fn is_own(&self, client: &Arrival) -> bool {
        if !self.is_possible.load(Relaxed) {
            return false;
        }
        match client.peer {
            Peer::Unix(_) => client.peer.is_this_process(),
            Peer::Tcp(peer) => {
                let Some(to) = self.upstreams().get(&endpoint(peer)).copied() else {
                    return false;
                };
                let at = local_address(&client.socket);
                // The same addresses may be in use in another network.
                at.map(endpoint) == Some(to) && is_our_network(&client.socket) != Some(false)
            }
            Peer::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::address::Address;
    use crate::service::listener::{Accepted, Listener};
    use socket2::{Domain, SockRef, Type};

    /// A listener, and a socket that was connected to it.
    fn connected(detection: &Arc<LoopDetection>) -> (Listener, Socket, Option<OwnAddress>) {
        let address = Address::parse_listen("127.0.0.1:0").unwrap();
        let listener = Listener::bind_all(&[address]).unwrap().remove(0);
        let at = SockRef::from(&listener).local_addr().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let (connected, own) = detection.connect(&socket, &at);
        connected.unwrap();
        (listener, socket, own)
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
        let (listener, _socket, own) = connected(&detection);
        let client = accept(&listener);
        assert!(detection.is_own(&client));
        drop(own);
        assert!(!detection.is_own(&client));
        assert!(detection.upstreams().is_empty());
    }

    #[test]
    fn another_client_of_this_machine_is_not_us() {
        let detection = Arc::new(LoopDetection::default());
        detection.expect(true);
        let (listener, _socket, _own) = connected(&detection);
        let at = SockRef::from(&listener).local_addr().unwrap();
        let _other = std::net::TcpStream::connect(at.as_socket().unwrap()).unwrap();
        assert!(detection.is_own(&accept(&listener)));
        assert!(!detection.is_own(&accept(&listener)));
    }

    #[test]
    fn nothing_is_remembered_where_the_target_has_no_port_of_ours() {
        let detection = Arc::new(LoopDetection::default());
        let (listener, _socket, own) = connected(&detection);
        assert!(own.is_none() && detection.upstreams().is_empty());
        assert!(!detection.is_own(&accept(&listener)));
    }

    #[test]
    fn a_loop_is_reported_once_for_each_target() {
        let detection = LoopDetection::default();
        assert!(detection.is_report_due() && !detection.is_report_due());
        detection.expect(true);
        assert!(detection.is_report_due());
    }
}
