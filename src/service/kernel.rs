//! System calls and socket options without a safe wrapper.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{ipproto, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// TCP's states (`include/net/tcp_states.h`). Closed: by a reset, or because both sides have ended it.
pub(crate) const TCP_CLOSE: u8 = 7;
/// Neither side has ended it.
pub(crate) const TCP_ESTABLISHED: u8 = 1;
/// Only the peer has ended it.
pub(crate) const TCP_CLOSE_WAIT: u8 = 8;
/// Only we have ended it, and the peer has not acknowledged that.
pub(crate) const TCP_FIN_WAIT1: u8 = 4;
/// Only we have ended it.
pub(crate) const TCP_FIN_WAIT2: u8 = 5;
/// Both have ended it, the peer first.
pub(crate) const TCP_LAST_ACK: u8 = 9;
/// Both have ended it, at once.
pub(crate) const TCP_CLOSING: u8 = 11;
const TCP_TIME_WAIT: u8 = 6;

/// What decisions need of `struct tcp_info` (`include/uapi/linux/tcp.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// The connection was reset or has ended: no answer comes.
    pub closed: bool,
    /// Segments that are not acknowledged. Of a listener: clients in the accept backlog (`sk_ack_backlog`).
    pub unacked: u32,
    /// Of a listener: the size of the backlog (`sk_max_ack_backlog`).
    pub sacked: u32,
    /// Retransmissions in a row without an answer.
    pub retransmits: u8,
    /// Probes in a row without an answer: of a closed window, or of an idle connection.
    pub probes: u8,
    /// Milliseconds since the last acknowledgement.
    pub last_ack_recv_ms: u32,
    /// Milliseconds since the last byte was received.
    pub received_ms: u32,
    /// Milliseconds since the last byte was sent.
    pub sent_ms: u32,
    /// Bytes received, with the peer's FIN as one (`tcp_rcv_nxt_update`, net/ipv4/tcp_input.c).
    pub received: u64,
    /// Bytes written to the socket, sent or not; retransmissions do not count.
    pub written: u64,
    /// The peer has shut down its writing side.
    pub peer_finished: bool,
    /// We have not shut down ours.
    pub writable: bool,
}

/// Returns the [`TcpInfo`] of a socket. Fails when it is not a TCP socket.
pub(crate) fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let info = raw_tcp_info(socket.as_fd())?;
    let state = info.tcpi_state;
    // Our FIN counts as a byte while it waits behind others to be sent.
    let is_ending = [TCP_FIN_WAIT1, TCP_LAST_ACK, TCP_CLOSING].contains(&state);
    let unsent_fin = u64::from(is_ending && info.tcpi_notsent_bytes > 0);
    Ok(TcpInfo {
        closed: state == TCP_CLOSE,
        unacked: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
        retransmits: info.tcpi_retransmits,
        probes: info.tcpi_probes,
        last_ack_recv_ms: info.tcpi_last_ack_recv,
        received_ms: info.tcpi_last_data_recv,
        sent_ms: info.tcpi_last_data_sent,
        received: info.tcpi_bytes_received,
        written: (info.tcpi_bytes_sent + u64::from(info.tcpi_notsent_bytes))
            .saturating_sub(info.tcpi_bytes_retrans + unsent_fin),
        peer_finished: [TCP_CLOSE_WAIT, TCP_TIME_WAIT, TCP_LAST_ACK, TCP_CLOSING].contains(&state),
        writable: [TCP_ESTABLISHED, TCP_CLOSE_WAIT].contains(&state),
    })
}

fn raw_tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    // SAFETY: `tcp_info` has integers only.
    unsafe { socket_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO) }
}

/// Reads a socket option. What the kernel (an older one) does not write is zero.
///
/// # Safety
///
/// Any bytes must be a valid `T`.
unsafe fn socket_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, and any bytes are a valid `T`.
    unsafe {
        let (fd, value_pointer) = (socket.as_raw_fd(), value.as_mut_ptr().cast());
        match libc::getsockopt(fd, level, name, value_pointer, &mut length) {
            0 => Ok(value.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The kernel's counters of a TCP socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpCounters {
    /// One of TCP's states, such as [`TCP_ESTABLISHED`].
    pub state: u8,
    /// The next call on the socket will return an error.
    pub broken: bool,
    /// Urgent data has not been received: reading ends in front of it.
    pub urgent: bool,
    /// Bytes received, with the peer's FIN as one.
    pub received: u64,
    /// Bytes that can be read, up to urgent data; without the FIN.
    pub readable: u64,
    /// Bytes sent and acknowledged.
    pub acknowledged: u64,
    /// Bytes written and not acknowledged, with our FIN as one.
    pub unacknowledged: u64,
}

/// How often the counters are read until they hold still.
const STABLE_TRIES: usize = 1000;

/// Whether a socket is plain TCP. A socket of MPTCP answers the same calls, but for one of its subflows
/// (`mptcp_getsockopt_first_sf_only`, net/mptcp/sockopt.c).
pub(crate) fn is_tcp(socket: impl AsFd) -> bool {
    sockopt::socket_protocol(socket) == Ok(Some(ipproto::TCP))
}

/// Returns the [`TcpCounters`] of one moment. The kernel has a call for each, and reads the state before it
/// locks the socket (`tcp_get_info`): they are read until nothing changes in between. Fails when the socket is not
/// a TCP socket; with `WouldBlock` if the counters do not hold still.
pub(crate) fn tcp_counters(socket: BorrowedFd<'_>) -> io::Result<TcpCounters> {
    if !is_tcp(socket) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let base = || -> io::Result<_> {
        let info = raw_tcp_info(socket)?;
        Ok(TcpCounters {
            state: info.tcpi_state,
            received: info.tcpi_bytes_received,
            acknowledged: info.tcpi_bytes_acked,
            ..TcpCounters::default()
        })
    };
    let mut before = base()?;
    for _ in 0..STABLE_TRIES {
        let readable = rustix::io::ioctl_fionread(socket)?;
        let unacknowledged = unacknowledged_bytes(socket)?;
        let flags = poll_now(socket, PollFlags::PRI)?;
        let after = base()?;
        if before == after {
            return Ok(TcpCounters {
                readable,
                unacknowledged: unacknowledged as u64,
                broken: flags.contains(PollFlags::ERR),
                urgent: flags.contains(PollFlags::PRI),
                ..after
            });
        }
        before = after;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether we have neither ended an accepted TCP connection, nor received or sent a byte. Does not allocate. Fails as
/// [`tcp_counters`].
pub(crate) fn is_untouched(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let counters = tcp_counters(socket)?;
    // The peer's FIN counts as a byte.
    let fin = match counters.state {
        TCP_ESTABLISHED => 0,
        TCP_CLOSE_WAIT => 1,
        _ => return Ok(false),
    };
    Ok(!counters.urgent
        && counters.received == counters.readable + fin
        && counters.acknowledged + counters.unacknowledged == 0)
}

/// Returns which of `flags`, `ERR` and `HUP` hold now: poll(2). It does not clear a socket's error. Fails when the
/// kernel has no memory.
pub(crate) fn poll_now(descriptor: BorrowedFd<'_>, flags: PollFlags) -> io::Result<PollFlags> {
    poll_for(descriptor, flags, Duration::ZERO)
}

/// As [`poll_now`], but waits for one of them, at most for `limit`. Fails also when a signal interrupts it.
pub(crate) fn poll_for(
    descriptor: BorrowedFd<'_>,
    flags: PollFlags,
    limit: Duration,
) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(descriptor, flags)];
    poll(&mut fds, Some(&timespec(limit)))?;
    Ok(fds[0].revents())
}

/// A time as the kernel takes it; the longest one for a longer one.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    })
}

/// Whether bytes were not received. Those from urgent data on are not readable (`tcp_inq`, include/net/tcp.h).
pub(crate) fn has_unread(socket: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|unread| unread > 0)
        || poll_now(socket, PollFlags::PRI).is_ok_and(|flags| flags.contains(PollFlags::PRI))
}

/// Makes each `MSG_PEEK` continue behind the one before, from the start; if not `on`, show the same again:
/// `SO_PEEK_OFF`, socket(7). Fails when the socket is not one of AF_UNIX.
pub(crate) fn peek_onwards(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let offset: libc::c_int = if on { 0 } else { -1 };
    // SAFETY: the kernel reads one int from `offset`.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const offset).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the number of a socket's network namespace (`SO_NETNS_COOKIE`,
/// `include/uapi/asm-generic/socket.h`). Fails when the kernel is older than 5.14.
pub(crate) fn network_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: any bytes are a valid number.
    unsafe { socket_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE) }
}

/// Returns the number of bytes that were written to a socket and are not acknowledged: `SIOCOUTQ`, tcp(7).
///
/// # Errors
///
/// When the socket has no such queue.
pub fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the kernel writes one int. SIOCOUTQ and TIOCOUTQ are one number.
    let bytes = unsafe { ioctl(socket, Getter::<{ libc::TIOCOUTQ as Opcode }, i32>::new())? };
    Ok(bytes.try_into().unwrap_or(0))
}

/// Makes the runtime watch a descriptor. Fails when memory or watches have run out (epoll(7),
/// `/proc/sys/fs/epoll/max_user_watches`).
pub(crate) fn watch<F: AsFd + AsRawFd>(
    descriptor: F,
    interest: Interest,
) -> io::Result<AsyncFd<F>> {
    // SAFETY: what can be borrowed as a descriptor stays open and the same as long as it lives (I/O safety,
    // `std::os::fd`); the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest)? })
}
