//! An attempt to connect, and the socket of the upstream.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::sockopt;
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

/// When an upstream gets its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// As soon as it is connected: they are here.
    Ready,
    /// Some time, or none.
    Later,
}

impl FirstBytes {
    /// Prepares a TCP socket that is to be connected. If they are here, the last packet of the handshake waits for them,
    /// for at most 200 ms (`TCP_DELACK_MAX`, include/net/tcp.h): that is a packet less, and the service has them when it
    /// accepts. If it fails, the packet is sent at once.
    pub(super) fn announce(self, socket: &Socket) {
        if self == Self::Ready {
            let _ = sockopt::set_tcp_quickack(socket, false);
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
    use crate::proxy::upstream::Connector;
    use crate::service::kernel::raw_tcp_info;
    use rustix::net::{SendFlags, send};
    use socket2::{Domain, Type};
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

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

    /// The segments in which a service has got the handshake and its first bytes.
    fn segments(first: FirstBytes) -> u32 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Arc::new(listener.local_addr().unwrap().to_string().parse().unwrap());
        let begun = Connector::default().begin(&target, &mut Spare::default(), first);
        let (ConnectAttempt::Complete(upstream) | ConnectAttempt::Pending(upstream)) =
            begun.unwrap().unwrap();
        let upstream = ConnectedUpstream::new(upstream, target);
        send(&upstream.socket, b"first", SendFlags::empty()).unwrap();
        let (mut service, _) = listener.accept().unwrap();
        let mut received = [0; 5];
        service.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"first");
        raw_tcp_info(service.as_fd()).unwrap().tcpi_segs_in
    }

    #[test]
    fn first_bytes_that_are_here_go_with_the_last_packet_of_the_handshake() {
        assert_eq!(segments(FirstBytes::Later), 3);
        // Unless this thread has to wait for a processor in between.
        assert!((0..50).any(|_| segments(FirstBytes::Ready) == 2));
    }
}
