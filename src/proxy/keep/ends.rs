//! How a connection ends whose sockets are parked: closing one sends nothing while the lot has a copy.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketType, connect_unspec, shutdown, sockopt};

use super::lots;
use crate::service::kernel::has_unread;

/// Tells the peer that nothing more comes, unless that was done.
pub fn end_orderly(socket: impl AsFd) {
    // It fails only on a connection that has ended or is broken.
    let _ = shutdown(socket, Shutdown::Write);
}

/// Resets a connection, whoever else has its socket. A family that has no reset shows the end.
pub fn end_by_reset(socket: impl AsFd) {
    if connect_unspec(&socket).is_err() {
        let _ = shutdown(&socket, Shutdown::Both);
    }
}

/// Whether closing the only descriptor of a socket would reset the connection: somebody has asked for
/// that (`SO_LINGER` with zero seconds, socket(7)), or bytes that came were not received (RFC 2525,
/// section 2.17).
pub fn is_to_be_reset(socket: BorrowedFd<'_>) -> bool {
    matches!(sockopt::socket_linger(socket), Ok(Some(Duration::ZERO))) || has_unread(socket)
}

/// Resets all connections whose sockets are parked in any of these, and how many it were.
pub(super) fn reset_all(stored: Vec<OwnedFd>) -> Result<usize, Errno> {
    let is_lot = |socket: &OwnedFd| sockopt::socket_type(socket) == Ok(SocketType::SEQPACKET);
    let mut count = 0;
    for lot in stored.iter().filter(|socket| is_lot(socket)) {
        while let Some(descriptors) = lots::take(lot.as_fd())? {
            for socket in descriptors
                .iter()
                .filter(|socket| is_connected(socket.as_fd()))
            {
                end_by_reset(socket);
                count += 1;
            }
        }
    }
    Ok(count)
}

fn is_connected(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::STREAM)
        && rustix::net::getpeername(socket).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let active = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (active, listener.accept().unwrap().0)
    }

    /// The peer of a socket that is reset while a copy of it lives on, after `prepare`.
    fn after_reset(prepare: impl Fn(&mut TcpStream, &mut TcpStream)) -> TcpStream {
        let (mut ours, mut peer) = pair();
        prepare(&mut ours, &mut peer);
        std::mem::forget(ours.try_clone().unwrap());
        end_by_reset(&ours);
        peer
    }

    #[test]
    fn what_is_unread_calls_for_a_reset_also_behind_urgent_data() {
        let (ours, mut peer) = pair();
        assert!(!is_to_be_reset(ours.as_fd()));
        rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
        peer.write_all(b"behind").unwrap();
        assert!(is_to_be_reset(ours.as_fd()));
    }

    #[test]
    fn a_reset_is_seen_in_every_state() {
        let reads = |mut peer: TcpStream| peer.read(&mut [0; 8]).map_err(|error| error.kind());
        let reset = Err(ErrorKind::ConnectionReset);
        assert_eq!(reads(after_reset(|_, _| ())), reset);
        let unread = |_: &mut TcpStream, peer: &mut TcpStream| peer.write_all(b"x").unwrap();
        assert_eq!(reads(after_reset(unread)), reset);
        let half_closed = |_: &mut TcpStream, peer: &mut TcpStream| {
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        };
        assert_eq!(reads(after_reset(half_closed)), reset);
        let unsent = |ours: &mut TcpStream, _: &mut TcpStream| {
            ours.set_nonblocking(true).unwrap();
            while ours.write(&[0; 65_536]).is_ok() {}
            ours.shutdown(std::net::Shutdown::Write).unwrap();
        };
        assert_eq!(
            after_reset(unsent)
                .read_to_end(&mut Vec::new())
                .map_err(|error| error.kind()),
            reset
        );
        // Who has got the end already reads it once more, and cannot send.
        let mut peer = after_reset(|ours, peer| {
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        });
        assert!(peer.write_all(b"x").is_err());
    }
}
