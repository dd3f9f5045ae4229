//! The few things of the kernel for which there is no safe wrapper.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// TCP's state `CLOSE`: the connection was reset, `include/net/tcp_states.h`.
const TCP_CLOSE: u8 = 7;

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
    Ok(TcpInfo {
        closed: info.tcpi_state == TCP_CLOSE,
        unacked: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
        retransmits: info.tcpi_retransmits,
        probes: info.tcpi_probes,
        last_ack_recv_ms: info.tcpi_last_ack_recv,
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
