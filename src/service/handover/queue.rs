//! The socket that clients are handed over to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketType, sockopt};

use super::client::ClientSocket;
use super::wire::{self, ClientWithToken, DESCRIPTORS, Datagram};
use crate::service::socket_file::remove_stale_datagram;

/// What became of an attempt to receive a client.
#[derive(Debug)]
pub enum Received {
    /// A client, and its address if it has one.
    Client(ClientSocket, Option<SocketAddrAny>),
    /// One that has gone already, or no client at all: on to the next one.
    Gone,
    /// Descriptors or memory have run out; whoever waits goes on waiting.
    Exhausted(io::Error),
}

/// A handover socket, as the side that receives has it.
///
/// A client whose descriptors have no room is gone from the queue all the same: recvmsg(2) cuts off
/// what it cannot install. Its token is closed by that, which tells the sender that nobody has served
/// it: it comes again. So that this does not happen to one after the other, from then on we make sure
/// that there is room before we receive, until nobody waits any more.
#[derive(Debug, Default)]
pub struct Queue {
    /// Clients that came with another one, and have yet to be asked for. If we end before, they go to
    /// somebody else, as those do who wait in the socket.
    received: Mutex<VecDeque<ClientWithToken>>,
    /// Whether descriptors had run out since the last time that nobody waited.
    is_short: AtomicBool,
}

impl Queue {
    /// Receives one client.
    ///
    /// # Errors
    ///
    /// As recvmsg(2): `AGAIN` when nobody waits.
    pub fn receive(&self, socket: BorrowedFd<'_>) -> Result<Received, Errno> {
        let mut received = self.received();
        if received.is_empty() {
            if self.is_short.load(Relaxed)
                && let Err(errno) = room(socket)
            {
                return Ok(Received::Exhausted(errno.into()));
            }
            let datagram = wire::receive(socket, &mut *received);
            match datagram {
                Err(Errno::AGAIN) => self.is_short.store(false, Relaxed),
                Ok(Datagram::Truncated) => self.is_short.store(true, Relaxed),
                _ => {}
            }
            if let Datagram::Foreign(why) = datagram? {
                return Ok(foreign(why));
            }
        }
        let Some(ClientWithToken { client, token }) = received.pop_front() else {
            return Ok(Received::Exhausted(Errno::MFILE.into()));
        };
        Ok(match examine(client.as_fd()) {
            Ok(Some(peer)) => Received::Client(ClientSocket::handed_over(client, token), peer),
            Ok(None) => Received::Gone,
            // Closed and nothing else: somebody else may use it.
            Err(why) => foreign(why),
        })
    }

    /// Whether somebody waits that [`Self::receive`] has received already.
    pub fn has_waiting(&self) -> bool {
        !self.received().is_empty()
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<ClientWithToken>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn foreign(why: &str) -> Received {
    tracing::warn!(ERROR = why, "what was handed over is no client: {why}");
    Received::Gone
}

/// Whether two more descriptors can be had at this moment.
fn room(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut held = Vec::with_capacity(DESCRIPTORS);
    for _ in 0..DESCRIPTORS {
        held.push(rustix::io::fcntl_dupfd_cloexec(socket, 0)?);
    }
    Ok(())
}

/// Looks whether it is the socket of a client. The address of the peer, where it has one; `None` when
/// the client has gone; an error in words when it is something else.
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

/// Makes a handover socket at `path`. What a process that was killed has left there is removed.
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

/// Says in a sentence what is wrong with an inherited socket that should be a handover socket.
///
/// # Errors
///
/// That sentence.
pub fn check_kind(fd: &OwnedFd) -> Result<(), String> {
    let is_unix = || {
        let address = rustix::net::getsockname(fd).map_err(|error| error.to_string())?;
        Ok::<bool, String>(SocketAddr::try_from(address).is_err())
    };
    match sockopt::socket_type(fd) {
        Ok(SocketType::DGRAM) if is_unix()? => Ok(()),
        Ok(_) => Err(
            "the inherited socket named handover is not an AF_UNIX datagram socket; \
             ListenDatagram= with a path is needed"
                .to_owned(),
        ),
        Err(_) => Err("the inherited descriptor named handover is not a socket".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_client_is_taken_with_its_address() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let end = hand_over(&ours, &accepted);
        match Queue::default().receive(theirs.as_fd()).unwrap() {
            Received::Client(_, Some(address)) => {
                assert_eq!(SocketAddr::try_from(address).unwrap(), peer);
            }
            other => panic!("{other:?}"),
        }
        assert!(is_done(end));
        drop(client);
        assert!(matches!(
            Queue::default().receive(theirs.as_fd()),
            Err(Errno::AGAIN)
        ));
    }

    #[test]
    fn a_client_that_has_gone_and_what_is_no_client_are_passed_over() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        crate::service::ending::reset_on_close(&client);
        drop(client);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let unconnected =
            rustix::net::socket(rustix::net::AddressFamily::INET, SocketType::STREAM, None)
                .unwrap();
        for strange in [
            accepted.as_fd(),
            listener.as_fd(),
            udp.as_fd(),
            file.as_fd(),
            unconnected.as_fd(),
        ] {
            let end = hand_over(&ours, strange);
            let received = Queue::default().receive(theirs.as_fd()).unwrap();
            assert!(matches!(received, Received::Gone), "{received:?}");
            assert!(is_done(end), "what is no client is let go at once");
        }
    }

    #[test]
    fn clients_that_came_together_are_received_one_by_one_or_go_to_somebody_else() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut ends = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let client = TcpStream::connect(address).unwrap();
            let (end, token) = std::io::pipe().unwrap();
            clients.push((listener.accept().unwrap(), token, client));
            ends.push(end);
        }
        let pairs = clients
            .iter()
            .map(|((socket, _), token, _)| (socket.as_fd(), token.as_fd()));
        wire::send(&ours, pairs).unwrap();
        let peers: Vec<_> = clients.iter().map(|((_, peer), ..)| *peer).collect();
        let (ours, clients): (Vec<_>, Vec<_>) = clients
            .into_iter()
            .map(|((ours, _), _, client)| (ours, client))
            .unzip();
        let queue = Queue::default();
        assert!(!queue.has_waiting());
        for peer in &peers[..2] {
            match queue.receive(theirs.as_fd()).unwrap() {
                Received::Client(_, Some(address)) => {
                    assert_eq!(SocketAddr::try_from(address).unwrap(), *peer);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(queue.has_waiting());
        drop(queue);
        for end in ends {
            assert!(is_done(end), "whoever was not asked for is let go");
        }
        let client = &clients[2];
        client.set_nonblocking(true).unwrap();
        let error = (&mut &*client).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "and sees no end");
        drop(ours);
    }

    #[test]
    fn what_is_no_client_can_be_used_on_by_whoever_else_has_it() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let _end = hand_over(&ours, &ours);
        let received = Queue::default().receive(theirs.as_fd()).unwrap();
        assert!(matches!(received, Received::Gone), "{received:?}");
        ours.send(b"it still sends").unwrap();
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
