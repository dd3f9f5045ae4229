//! The socket that clients are handed over to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketType, sockopt};

use super::wire::{self, ClientWithToken, DESCRIPTORS, Datagram};
use crate::service::arrival::{Accepted, Arrival};
use crate::service::client_socket::ClientSocket;
use crate::service::exhausted::check_room;
use crate::service::kernel::is_tcp;
use crate::service::mutex::lock;
use crate::service::socket_file::remove_stale_datagram;

/// The receiving side of a handover socket.
///
/// If descriptors run out, recvmsg(2) takes a client out of the queue and closes its descriptors. The closed token
/// shows the sender that the client was not served, and it sends it again. From then on, until the queue is empty,
/// we check that there is room before we receive, so that it does not happen to each client.
#[derive(Debug, Default)]
pub struct Queue {
    /// Clients that came in one datagram with another. If we end, they go to another process, as those in the socket.
    clients: Mutex<VecDeque<ClientWithToken>>,
    /// Whether descriptors have run out since the queue was last empty.
    is_short: AtomicBool,
}

impl Queue {
    /// Receives one client.
    ///
    /// # Errors
    ///
    /// As recvmsg(2): `AGAIN` when no client waits.
    pub fn receive(&self, socket: BorrowedFd<'_>) -> Result<Accepted, Errno> {
        let mut clients = lock(&self.clients);
        if clients.is_empty() {
            if self.is_short.load(Relaxed) {
                if let Err(error) = check_room(DESCRIPTORS) {
                    return Ok(Accepted::Exhausted(error));
                }
            }
            let datagram = wire::receive(socket, &mut *clients);
            match datagram {
                Err(Errno::AGAIN) => self.is_short.store(false, Relaxed),
                Ok(Datagram::Truncated) => self.is_short.store(true, Relaxed),
                _ => {}
            }
            if let Datagram::Foreign(why) = datagram? {
                return Ok(foreign(why));
            }
        }
        let Some(ClientWithToken { client, token }) = clients.pop_front() else {
            return Ok(Accepted::Exhausted(Errno::MFILE.into()));
        };
        Ok(match examine(client.as_fd()) {
            Ok(Some(address)) => {
                let is_tcp = is_tcp(&client);
                let socket = ClientSocket::handed_over(client, token);
                Accepted::Client(Arrival::new(socket, address, is_tcp))
            }
            Ok(None) => Accepted::Gone,
            // Closed without a shutdown: another process may use it.
            Err(why) => foreign(why),
        })
    }

    /// Whether a client waits that was received with another.
    pub fn has_waiting(&self) -> bool {
        !lock(&self.clients).is_empty()
    }
}

fn foreign(why: &str) -> Accepted {
    tracing::warn!(ERROR = why, "what was handed over is no client: {why}");
    Accepted::Gone
}

/// Checks that a descriptor is the socket of a client, and returns the peer's address, if it has one; `None` when
/// the client has gone; a sentence when it is something else.
fn examine(socket: BorrowedFd<'_>) -> Result<Option<Option<SocketAddrAny>>, &'static str> {
    match sockopt::socket_type(socket) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Err("it is not a stream socket"),
        Err(_) => return Err("it is not a socket"),
    }
    match rustix::net::getpeername(socket) {
        Ok(address) => Ok(Some(address)),
        // The client has reset the connection, unless it never was one.
        Err(Errno::NOTCONN) if sockopt::socket_acceptconn(socket) == Ok(false) => Ok(None),
        Err(_) => Err("it is not connected"),
    }
}

/// Makes a handover socket at `path`. A stale one there is removed.
///
/// # Errors
///
/// As bind(2): `AddrInUse` when another process has one there.
pub fn bind(path: &Path) -> io::Result<OwnedFd> {
    remove_stale_datagram(path);
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Checks that an inherited descriptor is a handover socket. The error is a sentence that says what it is instead.
pub(crate) fn check_kind(fd: &OwnedFd) -> Result<(), String> {
    let is_unix = || {
        let address = rustix::net::getsockname(fd).map_err(|error| error.to_string())?;
        Ok::<bool, String>(SocketAddr::try_from(address).is_err())
    };
    match sockopt::socket_type(fd) {
        Ok(SocketType::DGRAM) if is_unix()? => Ok(()),
        Ok(_) => Err(
            "the inherited socket for handovers is not an AF_UNIX datagram socket; \
             ListenDatagram= with a path is needed"
                .to_owned(),
        ),
        Err(_) => Err("the inherited descriptor for handovers is not a socket".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::arrival::Peer;
    use crate::service::loopback::pair;
    use socket2::{Domain, Socket, Type};
    use std::io::Read;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn hand_over(queue: &UnixDatagram, client: impl AsFd) -> std::io::PipeReader {
        let (end, token) = std::io::pipe().unwrap();
        wire::send(queue, [(client.as_fd(), token.as_fd())]).unwrap();
        end
    }

    fn is_done(mut end: std::io::PipeReader) -> bool {
        matches!(end.read(&mut [0]), Ok(0))
    }

    /// Receives this client.
    fn receive(queue: &Queue, socket: &UnixDatagram, client: &TcpStream) {
        let peer = Peer::Tcp(client.local_addr().unwrap());
        match queue.receive(socket.as_fd()).unwrap() {
            Accepted::Client(arrival) => assert_eq!(arrival.peer, peer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_is_taken_with_its_address() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (client, accepted) = pair();
        let end = hand_over(&ours, &accepted);
        receive(&Queue::default(), &theirs, &client);
        assert!(is_done(end));
        let error = Queue::default().receive(theirs.as_fd()).unwrap_err();
        assert_eq!(error, Errno::AGAIN);
    }

    #[test]
    fn a_client_that_has_gone_and_what_is_no_client_are_passed_over() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (client, accepted) = pair();
        crate::service::ending::reset_on_close(&client);
        drop(client);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let unconnected = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        for strange in [
            accepted.as_fd(),
            listener.as_fd(),
            udp.as_fd(),
            file.as_fd(),
            unconnected.as_fd(),
            ours.as_fd(),
        ] {
            let end = hand_over(&ours, strange);
            let received = Queue::default().receive(theirs.as_fd()).unwrap();
            assert!(matches!(received, Accepted::Gone), "{received:?}");
            assert!(is_done(end), "what is no client is closed at once");
        }
        // It was closed without a shutdown.
        ours.send(b"it still sends").unwrap();
    }

    #[test]
    fn clients_that_came_together_are_received_one_by_one_or_go_to_another_process() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let clients: [_; 3] = std::array::from_fn(|_| pair());
        let (ends, tokens): (Vec<_>, Vec<_>) = (0..3).map(|_| std::io::pipe().unwrap()).unzip();
        let sockets = clients.iter().map(|(_, accepted)| accepted.as_fd());
        wire::send(&ours, sockets.zip(tokens.iter().map(AsFd::as_fd))).unwrap();
        drop(tokens);
        let queue = Queue::default();
        assert!(!queue.has_waiting());
        receive(&queue, &theirs, &clients[0].0);
        receive(&queue, &theirs, &clients[1].0);
        assert!(queue.has_waiting());
        drop(queue);
        for end in ends {
            assert!(is_done(end), "the token of the third one is closed too");
        }
        let client = &clients[2].0;
        client.set_nonblocking(true).unwrap();
        let error = (&mut &*client).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "it sees no end");
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_has_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        drop(bind(&path).unwrap());
        let _ours = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
