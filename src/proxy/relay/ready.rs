//! What epoll(7) has reported of a socket that it watches edge-triggered.

use std::os::fd::BorrowedFd;
use std::task::Poll;

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::service::kernel::poll_now;
use crate::service::poller::Flags;
use crate::service::stream::{Family, send_at_once};

/// The events of a relayed socket. Urgent data is one because receiving stops before it, see
/// `Ready::receive`.
pub const WATCHED: Flags = Flags::IN
    .union(Flags::OUT)
    .union(Flags::PRI)
    .union(Flags::RDHUP)
    .union(Flags::ET);

/// What a socket is ready for: what epoll(7) has reported, unless a call has found otherwise since.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Whether there may be something to receive.
    pub is_readable: bool,
    /// Whether something can be sent, or connect(2) has its result.
    pub is_writable: bool,
    /// Whether there is urgent data, or the end.
    pub(super) is_exceptional: bool,
    /// Whether nothing more comes: the peer has shut down its writing side, or the connection is broken.
    pub has_ended: bool,
    pub(super) is_urgent: bool,
    /// Whether urgent data that the next receive would begin with has been reported.
    knows_urgent: bool,
    /// Whether the peer has reset the connection, or the kernel has given it up. A half-close is no break.
    pub is_broken: bool,
    family: Family,
    nagle: Nagle,
}

/// Whether small pieces wait for the acknowledgement of earlier ones (`TCP_NODELAY`, tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    Off,
    /// Nothing was sent yet: the first piece never waits.
    On,
    /// Before the next piece it has to be switched off.
    Due,
}

/// What a receive got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// 0 means that the peer has shut down its writing side.
    pub(super) bytes: usize,
    /// Whether it was as much as could be taken, so that there may be more.
    pub(super) full: bool,
}

impl Receipt {
    /// Nothing was taken, and there may be more.
    pub(super) const NO_BYTES: Self = Self {
        bytes: 0,
        full: true,
    };
}

impl Ready {
    /// Nothing was reported yet.
    pub fn new(family: Family) -> Self {
        Self {
            is_readable: false,
            is_writable: false,
            is_exceptional: false,
            has_ended: false,
            is_urgent: false,
            knows_urgent: false,
            is_broken: false,
            family,
            nagle: Nagle::Off,
        }
    }

    /// As [`Self::new`], for a socket without `TCP_NODELAY`. That is set before the second piece, because many
    /// connections carry a single request.
    pub fn new_with_delay(family: Family) -> Self {
        Self {
            nagle: match family {
                Family::Tcp => Nagle::On,
                Family::Other => Nagle::Off,
            },
            ..Self::new(family)
        }
    }

    /// Whether the kernel counts the bytes, so that the numbers are known after a kill.
    pub(super) fn is_counted(&self) -> bool {
        self.family == Family::Tcp
    }

    /// Takes what epoll(7) reports.
    pub fn update(&mut self, flags: Flags) {
        let is_over = flags.intersects(Flags::HUP | Flags::ERR);
        self.is_readable |= is_over || flags.intersects(Flags::IN | Flags::RDHUP | Flags::PRI);
        self.is_writable |= is_over || flags.intersects(Flags::OUT);
        self.is_exceptional |= is_over || flags.intersects(Flags::PRI | Flags::RDHUP);
        self.is_urgent |= flags.intersects(Flags::PRI);
        self.has_ended |= is_over || flags.intersects(Flags::RDHUP);
        self.knows_urgent |= self.has_ended || flags.intersects(Flags::IN | Flags::PRI);
        self.is_broken |= flags.intersects(Flags::ERR);
    }

    /// Asks the kernel for urgent data, if the next receive might go past some that was not reported.
    ///
    /// After a report, and before a receive, other bytes come first: a receive stops before urgent data
    /// behind them. Nothing comes behind the end. If there is nothing, nothing is received before the next
    /// report.
    pub(super) fn look_for_urgent(&mut self, socket: BorrowedFd<'_>) {
        if self.family != Family::Tcp || self.knows_urgent || !self.is_readable {
            return;
        }
        match poll_now(socket, PollFlags::IN | PollFlags::PRI) {
            Ok(flags) => {
                self.is_urgent |= flags.intersects(PollFlags::PRI);
                self.is_exceptional |= self.is_urgent;
                self.is_readable = !flags.is_empty();
            }
            // There may be some.
            Err(_) => self.is_urgent = true,
        }
    }

    /// Calls `receive` if there may be something. Pending while there is nothing.
    ///
    /// If `receive` finds nothing, or takes less than it could, nothing is left: it is not called again
    /// before the next report. (Each arrival is reported, epoll(7), `EPOLLET`.) That saves the call that
    /// would find nothing. It does not apply to AF_UNIX, where receiving stops at the border of messages that
    /// carry descriptors, before urgent data (`tcp_recvmsg_locked`, net/ipv4/tcp.c), or once the end is known
    /// to have come.
    pub(super) fn receive(
        &mut self,
        mut receive: impl FnMut() -> Result<Receipt, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        while self.is_readable {
            match receive() {
                Ok(Receipt { bytes, full }) => {
                    self.knows_urgent = self.has_ended;
                    let may_have_more = self.family != Family::Tcp || self.is_exceptional;
                    self.is_readable = full || bytes == 0 || may_have_more;
                    return Poll::Ready(Ok(bytes));
                }
                Err(Errno::AGAIN) => self.is_readable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
        Poll::Pending
    }

    /// Calls `peek`, which takes nothing, if there may be something. Pending while there is nothing.
    pub(super) fn peek(
        &mut self,
        mut peek: impl FnMut() -> Result<Receipt, Errno>,
    ) -> Poll<Result<(), Errno>> {
        while self.is_readable {
            match peek() {
                Err(Errno::AGAIN) => self.is_readable = false,
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result.map(|_| ())),
            }
        }
        Poll::Pending
    }

    /// Calls `send`, which sends to `socket`, if there may be room. Pending while there is none.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        mut send: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        while self.is_writable {
            match self.nagle {
                Nagle::Off => {}
                Nagle::On => self.nagle = Nagle::Due,
                Nagle::Due => {
                    send_at_once(socket);
                    self.nagle = Nagle::Off;
                }
            }
            match send() {
                Err(Errno::AGAIN) => self.is_writable = false,
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
    use crate::service::loopback::pair;
    use std::os::fd::AsFd;

    fn receipt(bytes: usize, full: bool) -> Result<Receipt, Errno> {
        Ok(Receipt { bytes, full })
    }

    #[test]
    fn a_short_read_has_emptied_a_tcp_socket_and_a_full_one_has_not() {
        let mut ready = Ready::new(Family::Tcp);
        assert!(ready.receive(|| receipt(1, false)).is_pending());
        ready.update(Flags::IN);
        assert_eq!(ready.receive(|| receipt(9, true)), Poll::Ready(Ok(9)));
        assert_eq!(ready.receive(|| receipt(1, false)), Poll::Ready(Ok(1)));
        assert!(ready.receive(|| receipt(1, false)).is_pending());
    }

    #[test]
    fn nor_has_it_where_the_end_or_urgent_data_or_a_border_may_be() {
        for flags in [Flags::RDHUP, Flags::PRI, Flags::HUP] {
            let mut ready = Ready::new(Family::Tcp);
            ready.update(Flags::IN | flags);
            assert_eq!(ready.receive(|| receipt(1, false)), Poll::Ready(Ok(1)));
            assert_eq!(ready.receive(|| receipt(0, false)), Poll::Ready(Ok(0)));
        }
        let mut ready = Ready::new(Family::Other);
        ready.update(Flags::IN);
        assert_eq!(ready.receive(|| receipt(1, false)), Poll::Ready(Ok(1)));
        assert!(ready.receive(|| Err(Errno::AGAIN)).is_pending());
        assert!(ready.receive(|| receipt(1, false)).is_pending());
    }

    #[test]
    fn urgent_data_is_known_before_a_receive_goes_past_it() {
        let (peer, socket) = pair();
        let mut ready = Ready::new(Family::Tcp);
        ready.update(Flags::IN);
        // It is reported that something else comes first.
        rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
        ready.look_for_urgent(socket.as_fd());
        assert!(ready.is_readable && !ready.is_urgent);
        // That was received, as much as fits, and what comes next was not reported.
        assert_eq!(ready.receive(|| receipt(9, true)), Poll::Ready(Ok(9)));
        ready.look_for_urgent(socket.as_fd());
        assert!(ready.is_readable && ready.is_urgent && ready.is_exceptional);

        let (_peer, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut ready = Ready::new(Family::Tcp);
        ready.update(Flags::IN);
        assert_eq!(ready.receive(|| receipt(9, true)), Poll::Ready(Ok(9)));
        ready.look_for_urgent(socket.as_fd());
        assert!(!ready.is_readable && !ready.is_urgent, "nothing is there");
    }

    #[test]
    fn what_is_full_takes_nothing_until_there_is_room() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = socket.as_fd();
        let mut ready = Ready::new(Family::Tcp);
        ready.update(Flags::OUT);
        assert_eq!(ready.send(socket, || Ok(5)), Poll::Ready(Ok(5)));
        assert!(ready.send(socket, || Err(Errno::AGAIN)).is_pending());
        assert!(ready.send(socket, || Ok(5)).is_pending());
        ready.update(Flags::OUT);
        assert_eq!(ready.send(socket, || Ok(5)), Poll::Ready(Ok(5)));
    }

    #[test]
    fn small_pieces_are_sent_at_once_from_the_second_on() {
        let (socket, _peer) = pair();
        let mut ready = Ready::new_with_delay(Family::Tcp);
        ready.update(Flags::OUT);
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
        ready.update(Flags::IN | Flags::RDHUP);
        assert!(!ready.is_broken);
        ready.update(Flags::IN | Flags::RDHUP | Flags::HUP | Flags::ERR);
        assert!(ready.is_broken);
    }
}
