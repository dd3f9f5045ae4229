//! The few things of the kernel for which there is no safe wrapper.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// TCP's states, `include/net/tcp_states.h`. Closed: it was reset, or both sides have ended it.
const TCP_CLOSE: u8 = 7;
/// Open, and neither side has said its last.
const TCP_ESTABLISHED: u8 = 1;
/// Only the peer has.
const TCP_CLOSE_WAIT: u8 = 8;
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
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and any bytes are a valid
    // `tcp_info`: it has integers only. An older kernel writes less; the rest stays zero.
    let info = unsafe {
        if libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
        info.assume_init()
    };
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
