//! What the kernel knows of a client's socket while another process serves it. `None`: not TCP.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::unanswered::CarriedBytes;
use crate::service::kernel::{self, TcpInfo};

/// Bytes from the client and bytes written to it.
pub fn carried(socket: impl AsFd) -> Option<CarriedBytes> {
    let info = consistent_info(socket)?;
    Some((received(&info, info.peer_finished), info.written))
}

/// The counts of a connection that no process serves any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalCounts {
    pub carried: CarriedBytes,
    /// Whether it was not served: it was not ended, and no byte was received or sent. The receiver was killed,
    /// or the queue in which the client waited has gone.
    pub is_untouched: bool,
}

pub fn end(socket: impl AsFd) -> Option<FinalCounts> {
    let info = consistent_info(&socket)?;
    // Of a closed socket only the error shows how it ended: none, both sides had finished; EPIPE, the client
    // had finished before the reset (`tcp_reset`, net/ipv4/tcp_input.c).
    let finished = match info.closed {
        true => matches!(
            sockopt::socket_error(&socket),
            Ok(Ok(()) | Err(Errno::PIPE))
        ),
        false => info.peer_finished,
    };
    Some(FinalCounts {
        carried: (received(&info, finished), info.written),
        is_untouched: info.writable
            && matches!(sockopt::socket_linger(&socket), Ok(None))
            && matches!(kernel::is_untouched(socket.as_fd()), Ok(true)),
    })
}

/// The state of TCP, all of one moment. The kernel reads the state before it locks the socket for the rest
/// (`tcp_get_info`, net/ipv4/tcp.c): if it is still the same later, it was the same then. After both sides have
/// finished nothing changes any more.
fn consistent_info(socket: impl AsFd) -> Option<TcpInfo> {
    let mut info = info(&socket)?;
    while !info.closed && (info.writable || !info.peer_finished) {
        let later = self::info(&socket)?;
        let state = |info: &TcpInfo| (info.closed, info.peer_finished, info.writable);
        if state(&later) == state(&info) {
            break;
        }
        info = later;
    }
    Some(info)
}

fn info(socket: impl AsFd) -> Option<TcpInfo> {
    let info = kernel::tcp_info(&socket).ok()?;
    // Of MPTCP it would be that of one subflow.
    kernel::is_tcp(&socket).then_some(info)
}

/// TCP counts an end as a byte.
fn received(info: &TcpInfo, finished: bool) -> u64 {
    info.received.saturating_sub(u64::from(finished))
}

/// How long nothing was carried.
pub fn quiet(socket: impl AsFd) -> Option<Duration> {
    let info = info(socket)?;
    let quiet_ms = info.received_ms.min(info.sent_ms);
    Some(Duration::from_millis(quiet_ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ending;
    use crate::service::loopback::pair;
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;

    fn until(holds: impl Fn() -> bool) {
        while !holds() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn bytes_are_counted_and_ends_are_not() {
        let (mut client, mut served) = pair();
        assert_eq!(carried(&served), Some((0, 0)));
        client.write_all(b"hello").unwrap();
        until(|| carried(&served) == Some((5, 0)));
        client.shutdown(std::net::Shutdown::Write).unwrap();
        served.read_to_end(&mut Vec::new()).unwrap();
        served.write_all(b"answer").unwrap();
        assert_eq!(carried(&served), Some((5, 6)));
        served.shutdown(std::net::Shutdown::Write).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        until(|| kernel::tcp_info(&served).unwrap().closed);
        assert_eq!(end(&served).unwrap().carried, (5, 6));
    }

    #[test]
    fn a_reset_is_no_byte_before_and_after_a_half_close() {
        for half_close in [false, true] {
            let (mut client, mut served) = pair();
            client.write_all(b"hello").unwrap();
            served.read_exact(&mut [0; 5]).unwrap();
            if half_close {
                client.shutdown(std::net::Shutdown::Write).unwrap();
                until(|| kernel::tcp_info(&served).unwrap().peer_finished);
            }
            ending::reset_on_close(&client);
            drop(client);
            until(|| kernel::tcp_info(&served).unwrap().closed);
            assert_eq!(end(&served).unwrap().carried, (5, 0));
        }
    }

    #[test]
    fn what_waits_to_be_sent_counts_as_written() {
        let (_client, mut served) = pair();
        served.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = served.write(&[0; 65_536]) {
            written += count as u64;
        }
        assert_eq!(carried(&served), Some((0, written)));
    }

    fn is_untouched(socket: impl AsFd) -> bool {
        end(socket).is_some_and(|end| end.is_untouched)
    }

    #[test]
    fn a_connection_is_untouched_until_a_receive_a_send_or_an_end() {
        let (mut client, mut served) = pair();
        assert!(is_untouched(&served));
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        until(|| kernel::tcp_info(&served).unwrap().peer_finished);
        assert!(is_untouched(&served));
        served.read_exact(&mut [0; 1]).unwrap();
        assert!(!is_untouched(&served));
        let (_client, mut served) = pair();
        served.write_all(b"x").unwrap();
        assert!(!is_untouched(&served));
        let (_client, served) = pair();
        served.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!is_untouched(&served));
        let (_client, served) = pair();
        ending::reset_on_close(&served);
        assert!(!is_untouched(&served));
        assert!(!is_untouched(UnixStream::pair().unwrap().0));
    }

    #[test]
    fn a_cut_is_seen_by_the_client_and_by_the_service() {
        let (mut client, mut served) = pair();
        ending::end_by_reset(&served);
        for stream in [&mut client, &mut served] {
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        let (mut client, mut served) = UnixStream::pair().unwrap();
        ending::end_by_reset(&served);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(served.read(&mut [0]).unwrap(), 0);
    }
}
