//! The few things of the kernel for which there is no safe wrapper.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{ipproto, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// TCP's states, `include/net/tcp_states.h`. Closed: it was reset, or both sides have ended it.
pub const TCP_CLOSE: u8 = 7;
/// Open, and neither side has said its last.
pub const TCP_ESTABLISHED: u8 = 1;
/// Only the peer has.
pub const TCP_CLOSE_WAIT: u8 = 8;
/// Only we have, and the peer has not acknowledged it.
pub const TCP_FIN_WAIT1: u8 = 4;
/// Only we have.
pub const TCP_FIN_WAIT2: u8 = 5;
/// Both have, the peer first.
pub const TCP_LAST_ACK: u8 = 9;
/// Both have, at once.
pub const TCP_CLOSING: u8 = 11;
/// Both have: `TIME_WAIT`, `LAST_ACK`, `CLOSING`.
const TCP_BOTH_FINISHED: [u8; 3] = [6, 9, 11];
/// We have, and the peer has not acknowledged it: `FIN_WAIT1`, `LAST_ACK`, `CLOSING`.
const TCP_ENDING: [u8; 3] = [4, 9, 11];

/// What the kernel says of a TCP socket (`struct tcp_info`, `include/uapi/linux/tcp.h`), reduced to
/// what we decide by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The connection was reset, and nobody will answer on it.
    pub closed: bool,
    /// Segments that were sent and are not acknowledged. Of a listener: clients that wait in the
    /// accept backlog (`tcp_get_info` fills in `sk_ack_backlog`).
    pub unacked: u32,
    /// Of a listener: the most clients that wait there (`sk_max_ack_backlog`).
    pub sacked: u32,
    /// Retransmissions in a row that nobody answered.
    pub retransmits: u8,
    /// Probes in a row that nobody answered: of a closed window, or of an idle connection.
    pub probes: u8,
    /// Milliseconds since the last acknowledgement came.
    pub last_ack_recv_ms: u32,
    /// Milliseconds since the last byte came or was sent.
    pub quiet_ms: u32,
    /// Bytes that came from the peer; its end counts as one (`tcp_rcv_nxt_update`,
    /// net/ipv4/tcp_input.c).
    pub received: u64,
    /// Bytes that were written to the socket: sent, but not those that were sent again, and those
    /// that wait to be sent.
    pub written: u64,
    /// The peer has shut down its writing side.
    pub peer_finished: bool,
    /// This side has not shut down its own.
    pub writable: bool,
}

/// Asks for [`TcpInfo`].
///
/// # Errors
///
/// When the socket is not a TCP socket.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let info = raw_tcp_info(socket.as_fd())?;
    // Our end of the stream counts as a byte while it waits behind others to be sent.
    let end_waits = info.tcpi_notsent_bytes > 0 && TCP_ENDING.contains(&info.tcpi_state);
    Ok(TcpInfo {
        closed: info.tcpi_state == TCP_CLOSE,
        unacked: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
        retransmits: info.tcpi_retransmits,
        probes: info.tcpi_probes,
        last_ack_recv_ms: info.tcpi_last_ack_recv,
        quiet_ms: info.tcpi_last_data_recv.min(info.tcpi_last_data_sent),
        received: info.tcpi_bytes_received,
        written: (info.tcpi_bytes_sent + u64::from(info.tcpi_notsent_bytes))
            .saturating_sub(info.tcpi_bytes_retrans + u64::from(end_waits)),
        peer_finished: info.tcpi_state == TCP_CLOSE_WAIT
            || TCP_BOTH_FINISHED.contains(&info.tcpi_state),
        writable: [TCP_ESTABLISHED, TCP_CLOSE_WAIT].contains(&info.tcpi_state),
    })
}

fn raw_tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and any bytes are a valid
    // `tcp_info`: it has integers only. An older kernel writes less; the rest stays zero.
    unsafe {
        if libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(info.assume_init())
    }
}

/// What has gone through a TCP socket since it was made, as the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// `TCP_ESTABLISHED` and its like.
    pub state: u8,
    /// The kernel has an error for whoever asks next.
    pub broken: bool,
    /// Urgent data was not received yet: what can be read ends in front of it.
    pub urgent: bool,
    /// Bytes that came, the peer's end among them.
    pub received: u64,
    /// Bytes that can be read, without the end, in front of urgent data.
    pub readable: u64,
    /// Bytes of ours that were acknowledged.
    pub acknowledged: u64,
    /// Bytes of ours that were not yet, our end among them.
    pub unacknowledged: u64,
}

/// So often the kernel is asked for counters that do not change meanwhile.
const STABLE_TRIES: usize = 1000;

/// Whether it is a socket of TCP itself. One of MPTCP answers as if it were, but what it says is that of
/// one of its subflows (`mptcp_getsockopt_first_sf_only`, net/mptcp/sockopt.c).
pub fn is_tcp(socket: impl AsFd) -> bool {
    sockopt::socket_protocol(socket) == Ok(Some(ipproto::TCP))
}

/// Asks for [`TcpCounters`] of one moment. The kernel tells them one by one, and the state before it
/// takes the socket's lock (`tcp_get_info`), so it is asked until nothing has changed in between.
///
/// # Errors
///
/// When the socket is not a TCP socket; `WouldBlock` if it does not hold still.
pub fn tcp_counters(socket: BorrowedFd<'_>) -> io::Result<TcpCounters> {
    if !is_tcp(socket) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let ask = || -> io::Result<_> {
        let info = raw_tcp_info(socket)?;
        Ok(TcpCounters {
            state: info.tcpi_state,
            received: info.tcpi_bytes_received,
            acknowledged: info.tcpi_bytes_acked,
            ..TcpCounters::default()
        })
    };
    let mut before = ask()?;
    for _ in 0..STABLE_TRIES {
        let readable = rustix::io::ioctl_fionread(socket)?;
        let unacknowledged = unacknowledged_bytes(socket)?;
        let flags = poll_now(socket, PollFlags::PRI)?;
        let after = ask()?;
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

/// Whether an accepted TCP connection is as it was: this side has not ended it, and nothing was received
/// from it or sent to it. Allocates nothing.
///
/// # Errors
///
/// As [`tcp_counters`].
pub fn is_untouched(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let counters = tcp_counters(socket)?;
    // The peer's end counts as a byte that came.
    let end = match counters.state {
        TCP_ESTABLISHED => 0,
        TCP_CLOSE_WAIT => 1,
        _ => return Ok(false),
    };
    Ok(!counters.urgent
        && counters.received == counters.readable + end
        && counters.acknowledged + counters.unacknowledged == 0)
}

/// Which of these, and of the error and the end, poll(2) tells now. An error is not taken away by this.
///
/// # Errors
///
/// When the kernel has no memory for it.
pub fn poll_now(socket: BorrowedFd<'_>, flags: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(socket, flags)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now))?;
    Ok(fds[0].revents())
}

/// Whether something came that was not received. Urgent data and what is behind it is not counted among
/// what can be read (`tcp_inq`, include/net/tcp.h).
pub fn has_unread(socket: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|unread| unread > 0)
        || poll_now(socket, PollFlags::PRI).is_ok_and(|flags| flags.contains(PollFlags::PRI))
}

/// Has `MSG_PEEK` go on behind what it has shown, from the start; or, if not `on`, show the same again:
/// `SO_PEEK_OFF`, socket(7).
///
/// # Errors
///
/// When the socket is not one of AF_UNIX.
pub fn peek_onwards(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
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

/// Which network namespace a socket is of: the same number for all sockets of one (`SO_NETNS_COOKIE`,
/// `include/uapi/asm-generic/socket.h`).
///
/// # Errors
///
/// When the kernel is older than 5.14.
pub fn network_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, all of which it may have.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    match got {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes that were written to a socket and that its peer has not acknowledged: `SIOCOUTQ`, tcp(7).
///
/// # Errors
///
/// When the socket has no such queue.
pub fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `bytes`. SIOCOUTQ and TIOCOUTQ are one number.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.try_into().unwrap_or(0))
}

/// Has the runtime watch a socket.
///
/// # Errors
///
/// When the kernel cannot watch it, for lack of memory or watches (epoll(7),
/// `/proc/sys/fs/epoll/max_user_watches`).
pub fn watch<F: AsFd + AsRawFd>(socket: F, interest: Interest) -> io::Result<AsyncFd<F>> {
    // SAFETY: what can be borrowed as a descriptor is open, and keeps its number and its file as
    // long as it lives (I/O safety, `std::os::fd`); the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest)? })
}
