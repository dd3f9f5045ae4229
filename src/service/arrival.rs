//! A client that was just accepted or handed over.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SocketAddrAny, sockopt};

use super::client_socket::ClientSocket;
use super::kernel::is_tcp;
use super::stream::{Family, take_error};

/// The identity of a client, as far as its socket shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client; an IPv4 client of an IPv6 socket has its IPv4 address.
    Tcp(SocketAddr),
    /// An AF_UNIX client, with its process number where the kernel knows it.
    Unix(Option<i32>),
    /// A client of another family, such as vsock.
    Other,
}

impl Peer {
    /// Whether it is an AF_UNIX client of this very process.
    pub fn is_this_process(&self) -> bool {
        matches!(self, Self::Unix(Some(pid)) if u32::try_from(*pid) == Ok(std::process::id()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(pid)) => write!(f, "unix:pid={pid}"),
            Self::Unix(None) => f.write_str("unix"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// A client that was just accepted or handed over.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket, not watched yet: the thread that serves it does that. Non-blocking if it was accepted here.
    pub socket: ClientSocket,
    /// Its identity.
    pub peer: Peer,
    /// The family of its socket.
    pub family: Family,
}

impl Arrival {
    pub(super) fn new(socket: ClientSocket, address: Option<SocketAddrAny>, is_tcp: bool) -> Self {
        let peer = peer(&socket, address);
        let family = match (&peer, is_tcp) {
            (Peer::Tcp(_), true) => Family::Tcp,
            _ => Family::Other,
        };
        Self {
            socket,
            peer,
            family,
        }
    }

    /// A client that was accepted earlier, perhaps by another process.
    pub fn of(socket: OwnedFd) -> Self {
        let address = rustix::net::getpeername(&socket).ok().flatten();
        let is_tcp = is_tcp(&socket);
        Self::new(ClientSocket::accepted(socket), address, is_tcp)
    }

    /// A client that accept(2) has returned; from a listener of MPTCP (`may_be_mptcp`) it may be one of TCP.
    pub(super) fn accepted(
        fd: OwnedFd,
        address: Option<SocketAddrAny>,
        may_be_mptcp: bool,
    ) -> Self {
        let is_tcp = !may_be_mptcp || is_tcp(&fd);
        Self::new(ClientSocket::accepted(fd), address, is_tcp)
    }
}

/// The result of an attempt to accept a client.
#[derive(Debug)]
pub enum Accepted {
    /// A client.
    Client(Arrival),
    /// The client has gone already, or is none: try the next one.
    Gone,
    /// No client waits.
    NoClient,
    /// Descriptors or memory have run out; clients keep waiting.
    Exhausted(io::Error),
}

fn peer(fd: impl AsFd, address: Option<SocketAddrAny>) -> Peer {
    match address.map(SocketAddr::try_from) {
        Some(Ok(address)) => {
            Peer::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
        }
        _ => match sockopt::socket_peercred(fd) {
            Ok(credentials) => Peer::Unix(Some(credentials.pid.as_raw_nonzero().get())),
            Err(_) => Peer::Other,
        },
    }
}

/// Whether accept(2) has returned a client that gave up while it waited: a reset ends its socket and leaves an
/// error on it (`tcp_reset`, net/ipv4/tcp_input.c), but does not take it out of the backlog.
pub(super) fn has_gone(fd: &OwnedFd) -> bool {
    take_error(fd).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Protocol, Socket, Type};
    use std::net::TcpStream;

    #[test]
    fn a_client_of_mptcp_is_not_taken_for_one_of_tcp() {
        let socket = |protocol| Socket::new(Domain::IPV4, Type::STREAM, Some(protocol));
        let Ok(listener) = socket(Protocol::MPTCP) else {
            return eprintln!("not tested, for this kernel has no MPTCP");
        };
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&anywhere.into()).unwrap();
        listener.listen(8).unwrap();
        let address = listener.local_addr().unwrap();
        let accept = |may_be_mptcp| {
            let (socket, peer) = listener.accept().unwrap();
            let peer = SocketAddrAny::from(peer.as_socket().unwrap());
            Arrival::accepted(socket.into(), Some(peer), may_be_mptcp)
        };
        let client = socket(Protocol::MPTCP).unwrap();
        client.connect(&address).unwrap();
        let arrival = accept(true);
        assert_eq!(arrival.family, Family::Other);
        assert!(matches!(arrival.peer, Peer::Tcp(_)));
        let restored = Arrival::of(arrival.socket.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(restored.family, Family::Other);

        let _client = TcpStream::connect(address.as_socket().unwrap()).unwrap();
        assert_eq!(accept(true).family, Family::Tcp);
    }
}
