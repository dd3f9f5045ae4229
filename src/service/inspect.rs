//! What sockets are, for people.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// Says in a sentence what is wrong with a socket that should be a listening stream socket.
pub(super) fn check_kind(fd: &OwnedFd) -> Result<(), String> {
    let number = std::os::fd::AsRawFd::as_raw_fd(fd);
    let Ok(kind) = sockopt::socket_type(fd) else {
        return Err(format!("the inherited descriptor {number} is not a socket"));
    };
    let name = local_name(fd);
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
    Err(format!(
        "the inherited socket {name} (descriptor {number}) is {kind}"
    ))
}

/// The address that a socket is bound to, for people.
pub(super) fn local_name(fd: impl AsFd) -> String {
    let Ok(address) = rustix::net::getsockname(&fd) else {
        return "unknown".to_owned();
    };
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return address.to_string();
    }
    match rustix::net::SocketAddrUnix::try_from(address.clone()) {
        Ok(unix) => match (unix.path_bytes(), unix.abstract_name()) {
            (Some(path), _) => format!("unix:{}", String::from_utf8_lossy(path)),
            (_, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
            _ => "unix:unnamed".to_owned(),
        },
        Err(_) if address.address_family() == AddressFamily::VSOCK => "vsock".to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}
