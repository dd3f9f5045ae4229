//! What epoll(7) has told of a socket that it watches edge-triggered.

use std::os::fd::BorrowedFd;
use std::task::Poll;

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::service::kernel::poll_now;
use crate::service::poller::Flags;
use crate::service::stream::{Family, send_at_once};

/// What a relayed socket has to be watched for.
///
/// Urgent data is among it because receiving stops short of it, see `Ready::receive`.
pub const WATCHED: Flags = Flags::IN
    .union(Flags::OUT)
    .union(Flags::PRI)
    .union(Flags::RDHUP)
    .union(Flags::ET);

/// What is known of a socket since it was watched: what it was told to be ready for, and has not
/// been found to be unready for since.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    readable: bool,
    writable: bool,
    /// Urgent data, or the end.
    exceptional: bool,
    /// The peer has shut down its writing side, or the connection is broken: nothing more comes.
    ended: bool,
    urgent: bool,
    /// Whether urgent data that a receive would begin with was told by now.
    knows_urgent: bool,
    broken: bool,
    family: Family,
    nagle: Nagle,
}

/// Whether small pieces wait for those before to be acknowledged (`TCP_NODELAY`, tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    /// They do not.
    Off,
    /// The first one never does.
    On,
    /// Something was sent: before the next piece it has to be off.
    Due,
}

/// What [`Ready::receive`] is told by who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes; 0 means that the peer has shut down its writing side.
    pub(super) bytes: usize,
    /// Whether it was as much as could be taken, so that more may be there.
    pub(super) full: bool,
}

impl Ready {
    /// Nothing was told yet.
    pub fn new(family: Family) -> Self {
        Self {
            readable: false,
            writable: false,
            exceptional: false,
            ended: false,
            urgent: false,
            knows_urgent: false,
            broken: false,
            family,
            nagle: Nagle::Off,
        }
    }

    /// For a TCP socket that does not send small pieces at once yet.
    ///
    /// It is told to when that begins to matter, before the second piece: many connections carry one
    /// request.
    pub fn new_with_delay(family: Family) -> Self {
        let nagle = match family {
            Family::Tcp => Nagle::On,
            Family::Other => Nagle::Off,
        };
        Self {
            nagle,
            ..Self::new(family)
        }
    }

    /// Whether the kernel counts what is received and sent, so that after a kill it is known how much it
    /// was.
    pub(super) fn is_counted(&self) -> bool {
        self.family == Family::Tcp
    }

    /// epoll(7) tells this.
    pub fn tell(&mut self, flags: Flags) {
        let ended = flags.intersects(Flags::HUP | Flags::ERR);
        self.readable |= ended || flags.intersects(Flags::IN | Flags::RDHUP | Flags::PRI);
        self.writable |= ended || flags.intersects(Flags::OUT);
        self.exceptional |= ended || flags.intersects(Flags::PRI | Flags::RDHUP);
        self.urgent |= flags.intersects(Flags::PRI);
        self.ended |= ended || flags.intersects(Flags::RDHUP);
        self.knows_urgent |= self.ended || flags.intersects(Flags::IN | Flags::PRI);
        self.broken |= flags.intersects(Flags::ERR);
    }

    /// Whether the connection was reset by the peer, or given up by the kernel. That the peer has
    /// shut down its writing side is no break.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether something can be sent, or a connection in the making is decided, connect(2).
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether something may be there to be received.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether the kernel has told of urgent data.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Asks the kernel for urgent data, if it may have come without having been told before the next
    /// receive goes past it.
    ///
    /// What was told to be readable and was not received from since begins with something else: a receive
    /// stops in front of what has come behind that. Nor does anything come behind the end. If nothing is
    /// there, nothing is to be received before the kernel tells of more.
    pub(super) fn look_for_urgent(&mut self, socket: BorrowedFd<'_>) {
        if self.family != Family::Tcp || self.knows_urgent || !self.readable {
            return;
        }
        match poll_now(socket, PollFlags::IN | PollFlags::PRI) {
            Ok(flags) => {
                self.urgent |= flags.intersects(PollFlags::PRI);
                self.exceptional |= self.urgent;
                self.readable = !flags.is_empty();
            }
            // It cannot be excluded.
            Err(_) => self.urgent = true,
        }
    }

    /// Whether the kernel has told of urgent data or of the end.
    pub(super) fn is_exceptional(&self) -> bool {
        self.exceptional
    }

    /// Receives if something may be there, by calling `receive`, which tells how much it got, and
    /// whether it could have taken more. Pending while nothing is there.
    ///
    /// When `receive` finds nothing, or took less than it could, nothing is left: the socket is not
    /// asked again before the kernel tells of more. (Each arrival is told, epoll(7), `EPOLLET`.) That
    /// spares the call that would only find out so. It does not hold for AF_UNIX, where receiving
    /// stops at the border of messages that carry descriptors, nor in front of urgent data
    /// (`tcp_recvmsg_locked`, net/ipv4/tcp.c), nor when the end is known to have come.
    pub(super) fn receive(
        &mut self,
        mut receive: impl FnMut() -> Result<Received, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        while self.readable {
            match receive() {
                Ok(Received { bytes, full }) => {
                    self.knows_urgent = self.ended;
                    let may_have_more = self.family != Family::Tcp || self.exceptional;
                    self.readable = full || bytes == 0 || may_have_more;
                    return Poll::Ready(Ok(bytes));
                }
                Err(Errno::AGAIN) => self.readable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
        Poll::Pending
    }

    /// Sends to `socket` by calling `send`, which tells how much it took. Pending while it takes
    /// nothing.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        mut send: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        while self.writable {
            match self.nagle {
                Nagle::Off => {}
                Nagle::On => self.nagle = Nagle::Due,
                Nagle::Due => {
                    send_at_once(socket);
                    self.nagle = Nagle::Off;
                }
            }
            match send() {
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn some(bytes: usize, full: bool) -> Result<Received, Errno> {
        Ok(Received { bytes, full })
    }

    #[test]
    fn a_short_read_has_emptied_a_tcp_socket_and_a_full_one_has_not() {
        let mut ready = Ready::new(Family::Tcp);
        assert!(ready.receive(|| some(1, false)).is_pending());
        ready.tell(Flags::IN);
        assert_eq!(ready.receive(|| some(9, true)), Poll::Ready(Ok(9)));
        assert_eq!(ready.receive(|| some(1, false)), Poll::Ready(Ok(1)));
        assert!(ready.receive(|| some(1, false)).is_pending());
    }

    #[test]
    fn nor_has_it_where_the_end_or_urgent_data_or_a_border_may_be() {
        for flags in [Flags::RDHUP, Flags::PRI, Flags::HUP] {
            let mut ready = Ready::new(Family::Tcp);
            ready.tell(Flags::IN | flags);
            assert_eq!(ready.receive(|| some(1, false)), Poll::Ready(Ok(1)));
            assert_eq!(ready.receive(|| some(0, false)), Poll::Ready(Ok(0)));
        }
        let mut ready = Ready::new(Family::Other);
        ready.tell(Flags::IN);
        assert_eq!(ready.receive(|| some(1, false)), Poll::Ready(Ok(1)));
        assert!(ready.receive(|| Err(Errno::AGAIN)).is_pending());
        assert!(ready.receive(|| some(1, false)).is_pending());
    }

    #[test]
    fn urgent_data_is_known_before_a_receive_goes_past_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let mut ready = Ready::new(Family::Tcp);
        ready.tell(Flags::IN);
        // It is told that something else comes first.
        rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
        ready.look_for_urgent(socket.as_fd());
        assert!(ready.is_readable() && !ready.is_urgent());
        // That has been received, as much as fits, and what comes next was not told.
        assert_eq!(ready.receive(|| some(9, true)), Poll::Ready(Ok(9)));
        ready.look_for_urgent(socket.as_fd());
        assert!(ready.is_readable() && ready.is_urgent() && ready.is_exceptional());

        let (_peer, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut ready = Ready::new(Family::Tcp);
        ready.tell(Flags::IN);
        assert_eq!(ready.receive(|| some(9, true)), Poll::Ready(Ok(9)));
        ready.look_for_urgent(socket.as_fd());
        assert!(
            !ready.is_readable() && !ready.is_urgent(),
            "nothing is there"
        );
    }

    #[test]
    fn what_is_full_takes_nothing_until_there_is_room() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = socket.as_fd();
        let mut ready = Ready::new(Family::Tcp);
        ready.tell(Flags::OUT);
        assert_eq!(ready.send(socket, || Ok(5)), Poll::Ready(Ok(5)));
        assert!(ready.send(socket, || Err(Errno::AGAIN)).is_pending());
        assert!(ready.send(socket, || Ok(5)).is_pending());
        ready.tell(Flags::OUT);
        assert_eq!(ready.send(socket, || Ok(5)), Poll::Ready(Ok(5)));
    }

    #[test]
    fn small_pieces_are_sent_at_once_from_the_second_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ready = Ready::new_with_delay(Family::Tcp);
        ready.tell(Flags::OUT);
        for at_once in [false, true, true] {
            let sent = ready.send(socket.as_fd(), || {
                assert_eq!(socket.nodelay().unwrap(), at_once);
                Ok(1)
            });
            assert_eq!(sent, Poll::Ready(Ok(1)));
        }
    }

    #[test]
    fn the_end_of_what_the_peer_writes_is_no_break() {
        let mut ready = Ready::new(Family::Tcp);
        ready.tell(Flags::IN | Flags::RDHUP);
        assert!(!ready.is_broken());
        ready.tell(Flags::IN | Flags::RDHUP | Flags::HUP | Flags::ERR);
        assert!(ready.is_broken());
    }
}
