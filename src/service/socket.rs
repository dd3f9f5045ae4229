//! Listening sockets as the kernel has them: their kinds, names and addresses, and making new ones.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, chmod, fchmod};
use rustix::net::{SocketType, sockopt};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::address::Address;

/// The backlog of a socket that we bind. The kernel lowers it to `net.core.somaxconn`, listen(2).
const BACKLOG: i32 = 4096;

/// Checks that an inherited descriptor is a listening stream socket. The error is a sentence: what it is instead.
pub(super) fn check_kind(fd: &OwnedFd) -> Result<(), String> {
    let number = fd.as_raw_fd();
    let Ok(kind) = sockopt::socket_type(fd) else {
        return Err(format!("the inherited descriptor {number} is not a socket"));
    };
    let kind = match kind {
        SocketType::STREAM => match sockopt::socket_acceptconn(fd) {
            Ok(true) => return Ok(()),
            _ => "a stream socket that does not listen (is Accept=yes set? it must be no)",
        },
        SocketType::DGRAM => {
            "a datagram socket (ListenDatagram=); a stream socket (ListenStream=) is needed"
        }
        SocketType::SEQPACKET => {
            "a sequential packet socket (ListenSequentialPacket=); a stream socket (ListenStream=) \
             is needed"
        }
        _ => "neither a stream nor a datagram socket; a stream socket (ListenStream=) is needed",
    };
    let name = local_name(fd);
    Err(format!(
        "the inherited socket {name} (descriptor {number}) is {kind}"
    ))
}

/// The IP address and port of a socket; `None` if it has none.
pub fn local_address(socket: impl AsFd) -> Option<SocketAddr> {
    SockRef::from(&socket).local_addr().ok()?.as_socket()
}

/// The address that a socket is bound to, for people.
pub(super) fn local_name(fd: impl AsFd) -> String {
    let Ok(address) = SockRef::from(&fd).local_addr() else {
        return "unknown".to_owned();
    };
    if let Some(address) = address.as_socket() {
        return address.to_string();
    }
    match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (_, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
        _ if address.is_unix() => "unix:unnamed".to_owned(),
        _ if address.domain() == Domain::VSOCK => "vsock".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The socket addresses of an address: a name may have several.
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

/// Makes a listening socket at a path, with the mode 0600 from the start: its file gets the mode that the socket
/// has when it is bound, less the umask (`unix_bind_bsd`, net/unix/af_unix.c).
pub(super) fn bind_private_socket(path: &Path) -> io::Result<Socket> {
    let mode = Mode::RUSR | Mode::WUSR;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    fchmod(&socket, mode)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // The umask may have taken what we need ourselves.
    chmod(path, mode)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

pub(super) fn bind_socket(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    if domain == Domain::IPV6 {
        // [::] alone means IPv4 as well, also where net.ipv6.bindv6only is set.
        socket.set_only_v6(!is_unspecified(address))?;
    }
    if domain == Domain::IPV4 || domain == Domain::IPV6 {
        socket.set_reuse_address(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether it stands for every address of the machine.
pub(super) fn is_unspecified(address: &SockAddr) -> bool {
    address
        .as_socket()
        .is_some_and(|address| address.ip().is_unspecified())
}
