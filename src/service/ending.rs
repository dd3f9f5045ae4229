//! How a connection ends: in order, or by a reset.
//!
//! As soon as both sockets of a connection exist, closing the last descriptor of either resets it
//! ([`reset_on_close`]): by this process, by the kernel when the process dies, or by systemd when it empties its
//! store. So a part of an answer is never taken for the whole. That is undone for a socket when the other side's end
//! is forwarded to it ([`end_orderly`], [`close_orderly`]): what was sent is then delivered, and the end after it.
//!
//! It costs each socket one system call at the beginning and one at the end. A listener never has the option,
//! although sockets would inherit it: another program may get the listener next.
//!
//! AF_UNIX and vsock have no reset: closing shows the end, or an error for an AF_UNIX socket with unread bytes.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, connect_unspec, shutdown, sockopt};

use super::kernel::has_unread;

/// Makes closing the last descriptor a reset, which loses unacknowledged bytes: `SO_LINGER` with 0 s, socket(7).
pub fn reset_on_close(socket: impl AsFd) {
    // It cannot fail on a socket.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Makes closing the last descriptor an orderly end.
pub fn close_orderly(socket: impl AsFd) {
    let _ = sockopt::set_socket_linger(socket, None);
}

/// Sends the end, unless it was sent. Closing the socket changes nothing for the peer from now on.
///
/// # Errors
///
/// When the connection has ended or is broken.
pub fn end_orderly(socket: impl AsFd) -> Result<(), Errno> {
    // First, so that no socket whose end was sent would be reset.
    close_orderly(&socket);
    shutdown(socket, Shutdown::Write)
}

/// Ends both directions, as closing the only descriptor would without [`reset_on_close`], also if there are others: the
/// peer gets what was sent and then the end, and what it sends from now on is answered by a reset.
pub fn end_both_ways(socket: impl AsFd) {
    close_orderly(&socket);
    // It fails only on a connection that has ended or is broken.
    let _ = shutdown(socket, Shutdown::Both);
}

/// Resets a connection, also if its socket has other descriptors. Without reset, it shows the end.
pub fn end_by_reset(socket: impl AsFd) {
    if connect_unspec(&socket).is_err() {
        // It fails only on a connection that is broken already.
        let _ = shutdown(&socket, Shutdown::Both);
    }
}

/// Whether closing the only descriptor would reset the connection: it has unread bytes (RFC 2525, section 2.17), or
/// [`reset_on_close`] is in effect.
pub fn is_to_be_reset(socket: BorrowedFd<'_>) -> bool {
    let linger = sockopt::socket_linger(socket);
    linger == Ok(Some(Duration::ZERO)) || has_unread(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::loopback::pair;
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

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
        // A peer that has read the end reads it again, and cannot send.
        let mut peer = after_reset(|ours, peer| {
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        });
        assert!(peer.write_all(b"x").is_err());
    }

    #[test]
    fn closing_in_the_middle_resets_and_closing_after_the_forwarded_end_does_not() {
        let end = |prepare: fn(&TcpStream)| {
            let (mut ours, mut peer) = pair();
            reset_on_close(&ours);
            ours.write_all(b"half").unwrap();
            prepare(&ours);
            drop(ours);
            let mut bytes = Vec::new();
            let end = peer.read_to_end(&mut bytes).map_err(|error| error.kind());
            end.map(|_| bytes)
        };
        let whole = Ok(b"half".to_vec());
        assert_eq!(end(|_| ()), Err(ErrorKind::ConnectionReset));
        assert_eq!(end(|ours| close_orderly(ours)), whole);
        assert_eq!(end(|ours| end_orderly(ours).unwrap()), whole);
    }

    #[test]
    fn what_a_slow_peer_has_not_read_is_delivered_after_an_orderly_end() {
        let (mut ours, mut peer) = pair();
        reset_on_close(&ours);
        ours.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = ours.write(&[7; 65_536]) {
            sent += count;
        }
        end_orderly(&ours).unwrap();
        drop(ours);
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), sent);
    }
}
