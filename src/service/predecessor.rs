//! The listening sockets of a predecessor: which of them are wanted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use socket2::{SockAddr, SockRef};

use super::listener::{ListenError, Listener};
use super::socket::is_unspecified;

/// A predecessor's sockets that are not taken yet.
#[derive(Debug, Default)]
pub struct PredecessorSockets(pub Vec<OwnedFd>);

impl PredecessorSockets {
    /// Takes the socket that is bound to exactly this address. "Every address" does not match one of them, IPv6 with
    /// IPv4 does not match IPv6 alone. A path must be absolute: working directories may differ.
    pub(super) fn take(&mut self, address: &SockAddr) -> Option<OwnedFd> {
        let index = self.0.iter().position(|socket| is_at(socket, address))?;
        Some(self.0.swap_remove(index))
    }

    /// The remaining sockets as listeners, which remove their paths. Fails when one is no listening stream socket.
    pub fn rest(self) -> Result<Vec<Listener>, ListenError> {
        self.0
            .into_iter()
            .map(|socket| {
                let path = path(&socket);
                Listener::of_predecessor(socket, path.as_deref())
            })
            .collect()
    }
}

fn is_at(socket: &OwnedFd, address: &SockAddr) -> bool {
    let socket = SockRef::from(socket);
    // As it was bound: [::] alone means IPv4 as well.
    let has_same_family = || socket.only_v6().ok() == Some(!is_unspecified(address));
    socket.local_addr().is_ok_and(|local| local == *address)
        && address.as_pathname().is_none_or(Path::is_absolute)
        && (!address.is_ipv6() || has_same_family())
}

fn path(socket: &OwnedFd) -> Option<PathBuf> {
    let local = SockRef::from(socket).local_addr().ok()?;
    let path = local.as_pathname()?;
    path.is_absolute().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::address::Address;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn address(text: &str) -> Address {
        Address::parse_listen(text).unwrap()
    }

    fn listen(sockets: &mut PredecessorSockets, text: &str) -> Result<Vec<Listener>, ListenError> {
        Listener::take_or_bind_all(&[address(text)], sockets)
    }

    #[tokio::test]
    async fn what_listens_at_an_address_is_taken_and_the_rest_is_bound() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = socket.local_addr().unwrap().to_string();
        let mut sockets = PredecessorSockets(vec![socket.try_clone().unwrap().into()]);
        assert_eq!(listen(&mut sockets, "127.0.0.1:0").unwrap().len(), 1);
        assert_eq!(sockets.0.len(), 1, "a free port is a new one");
        let taken = listen(&mut sockets, &name).unwrap();
        assert_eq!((taken[0].to_string(), sockets.0.len()), (name.clone(), 0));
        assert!(!taken[0].is_inherited());
        // It is taken: the same address cannot be bound again.
        assert!(listen(&mut sockets, &name).is_err());
    }

    #[tokio::test]
    async fn every_address_is_not_one_of_them_and_ipv6_is_not_ipv6_with_ipv4() {
        let everywhere = Listener::bind_all(&[address("0")]).unwrap();
        let name = everywhere[0].to_string();
        let (_, port) = name.rsplit_once(':').unwrap();
        let is_taken = |text: &str| {
            let socket = std::os::fd::AsFd::as_fd(&everywhere[0]);
            let mut sockets = PredecessorSockets(vec![socket.try_clone_to_owned().unwrap()]);
            let result = listen(&mut sockets, &text.replace("PORT", port));
            result.is_ok() && sockets.0.is_empty()
        };
        assert!(is_taken("PORT"));
        assert!(!is_taken("127.0.0.1:PORT") && !is_taken("[::1]:PORT"));
        if name.starts_with("[::]") {
            assert!(is_taken("[::]:PORT") && !is_taken("0.0.0.0:PORT"));
            let socket = SockRef::from(&everywhere[0]).try_clone().unwrap();
            assert!(!socket.only_v6().unwrap());
        }
    }

    #[tokio::test]
    async fn the_path_of_a_socket_is_removed_only_by_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        let sockets = || PredecessorSockets(vec![socket.try_clone().unwrap().into()]);
        let text = format!("unix:{}", path.display());
        // A process that gives up leaves it, whether it wanted the socket or not.
        drop(listen(&mut sockets(), &text).unwrap());
        drop(sockets().rest().unwrap());
        assert!(path.exists());
        let taken = listen(&mut sockets(), &text).unwrap();
        taken[0].own();
        taken[0].leave();
        drop(taken);
        assert!(path.exists());
        let surplus = sockets().rest().unwrap();
        surplus[0].own();
        drop(surplus);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_cannot_be_accepted_from_is_named() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = PredecessorSockets(vec![datagrams.into()])
            .rest()
            .unwrap_err();
        assert!(error.to_string().contains("datagram"), "{error}");
    }
}
