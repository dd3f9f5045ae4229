//! Clients that were accepted and not yet in the table when the process was killed.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrAny, getsockname, sockopt};

use crate::service::kernel;

/// Which of these sockets are new clients: they are connected to one of the listeners, nothing was
/// received from them or sent to them, and they are not `known`. The others are closed: clients of other
/// listeners, and connections to upstreams. `crowded`: there may be clients that were carried and are not
/// in the table.
pub(super) fn clients(
    sockets: Vec<OwnedFd>,
    listeners: &[BorrowedFd<'_>],
    mut known: BTreeSet<u64>,
    crowded: bool,
) -> Vec<OwnedFd> {
    let addresses: Vec<LocalAddress> = listeners.iter().filter_map(LocalAddress::of).collect();
    let is_new_client = |socket: &OwnedFd| {
        LocalAddress::of(socket).is_some_and(|address| addresses.contains(&address))
            && is_untouched(socket.as_fd(), crowded)
            && cookie(socket).is_none_or(|cookie| known.insert(cookie))
    };
    sockets.into_iter().filter(is_new_client).collect()
}

/// What identifies a socket, also under another descriptor.
pub fn cookie(socket: impl AsFd) -> Option<u64> {
    sockopt::socket_cookie(socket).ok()
}

/// The address of a socket. The IP address does not matter: a listener on all of them has another one.
#[derive(Debug, PartialEq, Eq)]
enum LocalAddress {
    Port(AddressFamily, u16),
    Other(SocketAddrAny),
}

impl LocalAddress {
    fn of(socket: impl AsFd) -> Option<Self> {
        let address = getsockname(socket).ok()?;
        let family = address.address_family();
        Some(match std::net::SocketAddr::try_from(address.clone()) {
            Ok(address) => Self::Port(family, address.port()),
            Err(_) => Self::Other(address),
        })
    }
}

/// Whether it is open and as it was accepted. Only TCP counts; with a client of another family nothing is
/// done before it is in the table, if there is room for it.
fn is_untouched(socket: BorrowedFd<'_>, crowded: bool) -> bool {
    kernel::is_untouched(socket)
        .unwrap_or_else(|error| error.kind() == ErrorKind::Unsupported && !crowded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn accepted(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn copy(socket: &TcpStream) -> OwnedFd {
        socket.try_clone().unwrap().into()
    }

    #[test]
    fn only_untouched_clients_of_our_listeners_are_new_and_each_once() {
        let [ours, theirs] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (mut client, fresh) = accepted(&ours);
        client.write_all(b"hello").unwrap();
        let (mut talking, mut used) = accepted(&ours);
        talking.write_all(b"x").unwrap();
        used.read_exact(&mut [0]).unwrap();
        let (_a, mut answered) = accepted(&ours);
        answered.write_all(b"x").unwrap();
        let (_b, other) = accepted(&theirs);
        let (_c, known) = accepted(&ours);
        let cookies = cookie(&known).into_iter().collect();
        let sockets = [&fresh, &fresh, &used, &answered, &other, &known, &client];
        let found = clients(sockets.map(copy).into(), &[ours.as_fd()], cookies, true);
        let found: Vec<_> = found.iter().map(cookie).collect();
        assert_eq!(found, [cookie(&fresh)]);
    }

    #[test]
    fn a_client_of_a_local_socket_is_known_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let [ours, theirs] =
            ["ours", "theirs"].map(|name| UnixListener::bind(directory.path().join(name)).unwrap());
        let connect = |name: &str| UnixStream::connect(directory.path().join(name)).unwrap();
        let (one, other) = (connect("ours"), connect("theirs"));
        let sockets: [OwnedFd; 4] = [
            ours.accept().unwrap().0.into(),
            theirs.accept().unwrap().0.into(),
            one.into(),
            other.into(),
        ];
        // It is not known what was carried without a slot.
        for (crowded, found) in [(false, 1), (true, 0)] {
            let sockets = sockets.each_ref().map(|socket| socket.try_clone().unwrap());
            let clients = clients(sockets.into(), &[ours.as_fd()], BTreeSet::new(), crowded);
            assert_eq!(clients.len(), found);
        }
    }
}
