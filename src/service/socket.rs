//! New listening sockets, and their addresses as the kernel has them.

use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;

use rustix::fs::{Mode, chmod, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::Address;

/// How many clients may wait in the backlog of a socket that we bind ourselves. The kernel lowers
/// it to `net.core.somaxconn`, listen(2).
const BACKLOG: i32 = 4096;

/// Every address that it stands for: a name may have several.
pub(super) fn socket_addresses(address: &Address) -> io::Result<Vec<(Domain, SockAddr)>> {
    match address {
        Address::Tcp { host, port } => Ok((host.as_str(), *port)
            .to_socket_addrs()?
            .map(|address| (Domain::for_address(address), address.into()))
            .collect()),
        Address::Unix(path) => Ok(vec![(Domain::UNIX, SockAddr::unix(path)?)]),
        Address::Abstract(name) => Ok(vec![(Domain::UNIX, SockAddr::unix(format!("\0{name}"))?)]),
        Address::Vsock { cid, port } => Ok(vec![(Domain::VSOCK, SockAddr::vsock(*cid, *port))]),
        Address::Handover(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "clients are handed over there, nobody can connect to it",
        )),
    }
}

/// A new socket that listens at a path and has the mode 0600 from the first moment on: the kernel takes what
/// the socket has before it is bound, less the umask (`unix_bind_bsd`, net/unix/af_unix.c).
pub(super) fn bind_private_socket(path: &Path) -> io::Result<Socket> {
    let mode = Mode::RUSR | Mode::WUSR;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    fchmod(&socket, mode)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // A umask may have taken from it what we need ourselves.
    chmod(path, mode)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A new socket that listens there.
pub(super) fn bind_socket(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    if domain == Domain::IPV6 {
        // [::] alone means IPv4 as well, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!is_unspecified(address))?;
    }
    if domain == Domain::IPV4 || domain == Domain::IPV6 {
        socket.set_reuse_address(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether the kernel knows the address family at all.
pub(super) fn has_family(error: &io::Error) -> bool {
    error.raw_os_error() != Some(libc::EAFNOSUPPORT)
}

/// Of a TCP address; 0 for any other.
pub(super) fn port(address: &SockAddr) -> u16 {
    address.as_socket().map_or(0, |address| address.port())
}

/// Whether it is every address of the machine.
pub(super) fn is_unspecified(address: &SockAddr) -> bool {
    address
        .as_socket()
        .is_some_and(|address| address.ip().is_unspecified())
}
