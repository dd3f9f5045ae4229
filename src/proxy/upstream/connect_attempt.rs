//! An attempt to connect, and the socket of the upstream.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{SockAddr, Socket};

use super::loops::{LoopDetection, OwnAddress};
use super::spare::Spare;
use crate::service::address::Address;
use crate::service::ending;
use crate::service::socket::local_address;
use crate::service::stream::{Stream, take_error};

#[derive(Debug)]
pub struct Upstream {
    own_address: Option<OwnAddress>,
    socket: OwnedFd,
}

impl From<OwnedFd> for Upstream {
    /// A socket that another process has connected.
    fn from(socket: OwnedFd) -> Self {
        Self {
            own_address: None,
            socket,
        }
    }
}

/// An upstream that a connection leads to.
#[derive(Debug)]
pub struct ConnectedUpstream {
    /// Dropped before the socket is closed: from then on its address may be another socket's.
    _own_address: Option<OwnAddress>,
    pub socket: OwnedFd,
    pub target: Arc<Address>,
}

impl ConnectedUpstream {
    pub fn new(upstream: Upstream, target: Arc<Address>) -> Self {
        Self {
            _own_address: upstream.own_address,
            socket: upstream.socket,
            target,
        }
    }
}

#[derive(Debug)]
pub enum ConnectAttempt {
    Complete(Upstream),
    /// The upstream has not answered yet.
    Pending(Upstream),
}

impl ConnectAttempt {
    pub(super) fn new(
        socket: Socket,
        address: &SockAddr,
        spare: &mut Spare,
        loops: &Arc<LoopDetection>,
    ) -> io::Result<Self> {
        let (connected, own_address) = loops.connect(&socket, address);
        if is_connected_to_itself(&socket, address) {
            ending::reset_on_close(&socket);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let upstream = |socket: Socket| Upstream {
            own_address,
            socket: socket.into(),
        };
        match connected {
            Ok(()) => Ok(Self::Complete(upstream(socket))),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok(Self::Pending(upstream(socket)))
            }
            // AF_UNIX decides at once; EAGAIN means that the backlog of the listener is full.
            Err(error) => {
                spare.put_back(socket);
                Err(error)
            }
        }
    }

    /// Waits until it is connected.
    pub(super) async fn complete(self) -> io::Result<Upstream> {
        match self {
            Self::Complete(upstream) => Ok(upstream),
            Self::Pending(upstream) => {
                let socket = PendingSocket(Some(Stream::of(upstream.socket)?)).complete();
                Ok(Upstream {
                    socket: socket.await?,
                    ..upstream
                })
            }
        }
    }
}

/// The first port that the kernel chooses by default: `ip_local_port_range`, ip(7).
const FIRST_CHOSEN_PORT: u16 = 32_768;

/// Whether a socket is connected to itself. If nothing listens at a port, the kernel may choose the same port
/// for the socket, and TCP allows that (simultaneous open, RFC 9293, section 3.5): the client would receive
/// what it sends, and the service could not listen there any more.
fn is_connected_to_itself(socket: &Socket, to: &SockAddr) -> bool {
    to.as_socket()
        .is_some_and(|to| to.port() >= FIRST_CHOSEN_PORT)
        && local_address(socket) == to.as_socket()
}

/// A socket that is being connected. If it is dropped because the client has left, an upstream that has
/// accepted it by then sees a reset: the client has not ended its side in order.
struct PendingSocket(Option<Stream>);

impl PendingSocket {
    async fn complete(mut self) -> io::Result<OwnedFd> {
        if let Some(stream) = &self.0 {
            // It becomes writable when connecting is over, connect(2).
            stream.writable().await?;
            if let Some(error) = take_error(stream) {
                return Err(error);
            }
        }
        self.0
            .take()
            .map(Stream::into_fd)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for PendingSocket {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            ending::reset_on_close(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn a_socket_that_is_connected_to_itself_is_a_service_that_is_not_there() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        let itself = socket.local_addr().unwrap();
        if itself.as_socket().unwrap().port() < FIRST_CHOSEN_PORT {
            return eprintln!("not tested, the kernel chooses other ports here");
        }
        let attempt = ConnectAttempt::new(socket, &itself, &mut Spare::default(), &Arc::default());
        let error = attempt.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
