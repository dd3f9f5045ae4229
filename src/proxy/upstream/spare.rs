//! A socket that is made before a client needs it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use crate::service::address::Address;

/// A socket for an upstream, made before a client is accepted: a connection needs two descriptors, and
/// otherwise all could go to clients that wait for a second one in vain.
#[derive(Debug, Default)]
pub struct Spare(Option<(Domain, Socket)>);

impl Spare {
    /// Makes a socket for this target unless there is one already.
    /// Fails if no descriptor or memory is left.
    pub fn reserve(&mut self, target: &Address) -> io::Result<()> {
        if self.0.is_none() {
            let domain = domain(target);
            self.0 = Some((domain, socket(domain)?));
        }
        Ok(())
    }

    /// The socket, if it is certain that it will be connected to this target.
    pub fn for_target(&self, target: &Address) -> Option<BorrowedFd<'_>> {
        let is_certain = match target {
            Address::Tcp { .. } => target.literal().is_some(),
            Address::Handover(_) => false,
            _ => true,
        };
        let (is, socket) = self.0.as_ref()?;
        (is_certain && *is == domain(target)).then(|| socket.as_fd())
    }

    /// Puts back a socket that could not be connected, for the next attempt.
    pub(super) fn put_back(&mut self, socket: Socket) {
        if let Ok(domain) = socket.domain() {
            self.0 = Some((domain, socket));
        }
    }

    /// Closes it, so that its descriptor is free.
    pub(super) fn give_up(&mut self) {
        self.0 = None;
    }

    /// Takes the socket; one of another domain is replaced.
    pub(super) fn take(&mut self, domain: Domain) -> io::Result<Socket> {
        // The descriptor of another domain is free before the next one is needed.
        let spare = self.0.take().filter(|(is, _)| *is == domain);
        spare.map_or_else(|| socket(domain), |(_, socket)| Ok(socket))
    }
}

fn socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)
}

/// The domain of a socket for this target; a guess if a name has to be looked up first.
pub(super) fn domain(target: &Address) -> Domain {
    match target {
        Address::Tcp { .. } => target.literal().map_or(Domain::IPV4, Domain::for_address),
        Address::Unix(_) | Address::Abstract(_) | Address::Handover(_) => Domain::UNIX,
        Address::Vsock { .. } => Domain::VSOCK,
    }
}
