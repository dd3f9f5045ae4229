//! What the will asks the kernel about a socket, without allocating anything.

use std::os::fd::RawFd;

/// Whether it is a connected stream socket.
pub(super) fn is_connected_stream(number: RawFd) -> bool {
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let mut address = std::mem::MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut address_length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most as much as there is room for, and nobody reads the address.
    unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &mut length,
        ) == 0
            && kind == libc::SOCK_STREAM
            && libc::getpeername(number, address.as_mut_ptr().cast(), &mut address_length) == 0
    }
}

/// Whether something was sent to its peer or received from it, so that it is no new client: there is no
/// room for all connections that are not kept. Only TCP can tell.
pub(super) fn is_used(number: RawFd) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let mut readable: libc::c_int = 0;
    // SAFETY: the kernel writes at most as much as there is room for, and zeros are a valid `tcp_info`.
    let (asked, info) = unsafe {
        let asked = libc::getsockopt(
            number,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        ) == 0
            && libc::ioctl(number, libc::FIONREAD, &raw mut readable) == 0;
        (asked, info.assume_init())
    };
    // The peer's end counts as one that was received.
    let received = info.tcpi_bytes_received > readable as u64 + 1;
    asked && (received || info.tcpi_bytes_sent > 0)
}
