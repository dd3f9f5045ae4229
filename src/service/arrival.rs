//! A client that has just come, accepted or handed over.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SocketAddrAny, sockopt};

use super::handover::{ClientSocket, Received};
use super::stream::Family;

/// Who a client is, as far as its socket tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client; an IPv4 client of an IPv6 socket is told as IPv4.
    Tcp(SocketAddr),
    /// An AF_UNIX client, by its process number where the kernel knows it.
    Unix(Option<i32>),
    /// Any other family, vsock for example.
    Other,
}

impl Peer {
    /// The family of its socket, as far as it matters to us.
    pub fn family(&self) -> Family {
        match self {
            Self::Tcp(_) => Family::Tcp,
            Self::Unix(_) | Self::Other => Family::Other,
        }
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

/// A client that was just accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket, not yet watched: that is for the thread that serves it. Non-blocking if it was
    /// accepted here; one that was handed over is what its sender made it.
    pub socket: ClientSocket,
    /// Who it is.
    pub peer: Peer,
}

impl Arrival {
    /// A client that was accepted before, perhaps by another process.
    pub fn of(socket: OwnedFd) -> Self {
        let peer = peer(&socket, rustix::net::getpeername(&socket).ok().flatten());
        Self {
            socket: ClientSocket::accepted(socket),
            peer,
        }
    }
}

/// What became of an attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A client.
    Client(Arrival),
    /// A client that has gone already, or that could not be set up: on to the next one.
    Gone,
    /// Nobody waits.
    Nobody,
    /// Descriptors or memory have run out; whoever waits goes on waiting.
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

/// What became of an attempt to receive one.
pub(super) fn handed_over(received: Received) -> Accepted {
    match received {
        Received::Client(socket, address) => {
            let peer = peer(&socket, address);
            Accepted::Client(Arrival { socket, peer })
        }
        Received::Gone => Accepted::Gone,
        Received::Exhausted(error) => Accepted::Exhausted(error),
    }
}

/// A client that accept(2) has returned.
pub(super) fn accepted(fd: OwnedFd, address: Option<SocketAddrAny>) -> Accepted {
    let peer = peer(&fd, address);
    let socket = ClientSocket::accepted(fd);
    Accepted::Client(Arrival { socket, peer })
}

/// Whether a client that gave up while it waited was handed out all the same: the reset ends its
/// socket and leaves an error on it (`tcp_reset`, net/ipv4/tcp_input.c), not its place in the backlog.
pub(super) fn has_gone(fd: &OwnedFd) -> bool {
    !matches!(sockopt::socket_error(fd), Ok(Ok(())))
}
