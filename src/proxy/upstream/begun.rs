//! A connection that has begun to be made.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{SockAddr, Socket};

use super::loops::{LoopDetection, Noted};
use super::spare::Spare;
use crate::service::address::Address;
use crate::service::ending;
use crate::service::stream::Stream;

/// The socket of an upstream.
#[derive(Debug)]
pub struct Upstream {
    /// For as long as it is remembered that the socket is ours.
    pub noted: Option<Noted>,
    /// The socket.
    pub socket: OwnedFd,
}

impl From<OwnedFd> for Upstream {
    /// One that another process has connected.
    fn from(socket: OwnedFd) -> Self {
        Self {
            noted: None,
            socket,
        }
    }
}

/// Where a connection leads.
#[derive(Debug)]
pub struct Connected {
    /// Dropped before the socket is closed: its address may be another's from then on.
    _noted: Option<Noted>,
    /// The upstream's socket.
    pub socket: OwnedFd,
    /// The target that it was reached by.
    pub target: Arc<Address>,
}

impl Connected {
    /// A socket that leads to this target.
    pub fn new(Upstream { noted, socket }: Upstream, target: Arc<Address>) -> Self {
        Self {
            _noted: noted,
            socket,
            target,
        }
    }
}

/// A connection in the making.
#[derive(Debug)]
pub enum Begun {
    /// It is made.
    Decided(Upstream),
    /// The peer has not answered yet.
    Pending(Upstream),
}

impl Begun {
    pub(super) fn new(
        socket: Socket,
        address: &SockAddr,
        spare: &mut Spare,
        loops: &Arc<LoopDetection>,
    ) -> io::Result<Self> {
        let (connected, noted) = loops.connect(&socket, address);
        if is_connected_to_itself(&socket, address) {
            ending::reset_on_close(&socket);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let upstream = |socket: Socket| Upstream {
            noted,
            socket: socket.into(),
        };
        match connected {
            Ok(()) => Ok(Self::Decided(upstream(socket))),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok(Self::Pending(upstream(socket)))
            }
            // An AF_UNIX socket is decided at once; EAGAIN means that the listener's backlog is full.
            Err(error) => {
                spare.keep(socket);
                Err(error)
            }
        }
    }

    /// Waits until it is decided.
    pub(super) async fn decided(self) -> io::Result<Upstream> {
        match self {
            Self::Decided(upstream) => Ok(upstream),
            Self::Pending(Upstream { noted, socket }) => {
                let socket = Waiting(Some(Stream::new(socket)?)).decided().await?;
                Ok(Upstream { noted, socket })
            }
        }
    }
}

/// The first port that the kernel chooses by itself, unless it is told otherwise: `ip_local_port_range`, ip(7).
const FIRST_CHOSEN_PORT: u16 = 32_768;

/// Whether a socket is connected to itself. Where nobody listens the kernel may choose for the socket the very
/// port that it is to be connected to, and TCP has no objection (simultaneous open, RFC 9293, section 3.5): the
/// client would hear its own words, and the service could not listen there any more.
fn is_connected_to_itself(socket: &Socket, to: &SockAddr) -> bool {
    to.as_socket()
        .is_some_and(|to| to.port() >= FIRST_CHOSEN_PORT)
        && socket
            .local_addr()
            .is_ok_and(|own| own.as_socket() == to.as_socket())
}

/// A connection in the making that is waited for. If it is given up because the client has gone, an
/// upstream that has accepted it by then sees a reset: the client has not said that it has nothing to
/// say.
struct Waiting(Option<Stream>);

impl Waiting {
    async fn decided(mut self) -> io::Result<OwnedFd> {
        if let Some(stream) = &self.0 {
            // It becomes writable when it is decided, connect(2).
            stream.writable().await?;
            if let Some(error) = stream.take_error() {
                return Err(error);
            }
        }
        self.0
            .take()
            .map(Stream::into_fd)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset_on_close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    /// Here the port is chosen on purpose.
    #[test]
    fn a_socket_that_is_connected_to_itself_is_a_service_that_is_not_there() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        let itself = socket.local_addr().unwrap();
        if itself.as_socket().unwrap().port() < FIRST_CHOSEN_PORT {
            return eprintln!("not tested, the kernel chooses other ports here");
        }
        let begun = Begun::new(socket, &itself, &mut Spare::default(), &Arc::default());
        let error = begun.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
