//! Binding listeners, and waiting while a predecessor still has their addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef};
use tokio::time::{Instant, sleep};

use super::activation::Inherited;
use super::address::Address;
use super::listener::{ListenError, Listener};
use super::predecessor::PredecessorSockets;
use super::socket::{bind_private_socket, bind_socket, is_unspecified, socket_addresses};
use super::socket_file::{SocketFile, remove_stale};
use super::timespan::TimeSpan;

/// How often binding is tried again: there is no event for a free address.
const INTERVAL: Duration = Duration::from_millis(20);

/// Listens at all addresses. While one is in use, waits for up to `patience`: a service manager may start the
/// next version before the previous one has ended. Fails for the first that cannot be bound.
pub async fn bind_all(
    addresses: &[Address],
    patience: TimeSpan,
) -> Result<Vec<Listener>, ListenError> {
    patiently(patience, || Listener::bind_all(addresses)).await
}

/// Takes those of inherited sockets that listen at this address. Fails if its name cannot be looked up.
pub fn take_at(
    address: &Address,
    sockets: &mut Vec<Inherited>,
) -> Result<Vec<Inherited>, ListenError> {
    let places = socket_addresses(address).map_err(|error| ListenError::of_bind(address, error))?;
    let (taken, others) = std::mem::take(sockets)
        .into_iter()
        .partition(|socket| places.iter().any(|(_, place)| is_at(socket, place)));
    *sockets = others;
    Ok(taken)
}

/// Every IPv6 address of the machine, with IPv4, is every IPv4 address where the kernel has no IPv6.
fn is_at(socket: &Inherited, place: &SockAddr) -> bool {
    SockRef::from(&socket.fd).local_addr().is_ok_and(|local| {
        let port = |address: &SockAddr| address.as_socket().map(|socket| socket.port());
        let are_everywhere = is_unspecified(&local) && is_unspecified(place);
        local == *place || are_everywhere && port(&local) == port(place)
    })
}

/// Makes a handover socket at `path`, see [`bind_all`].
pub async fn bind_handover(path: &Path, patience: TimeSpan) -> Result<Listener, ListenError> {
    patiently(patience, || Listener::bind_handover(path)).await
}

/// Listens at `path`, where only root and our user can connect, see [`bind_all`].
pub async fn bind_private(path: &Path, patience: TimeSpan) -> Result<Listener, ListenError> {
    patiently(patience, || {
        remove_stale(path);
        let address = Address::Unix(path.to_owned());
        let socket =
            bind_private_socket(path).map_err(|error| ListenError::of_bind(&address, error))?;
        Ok(Listener::new(socket.into(), SocketFile::bound(path))?)
    })
    .await
}

async fn patiently<T>(
    patience: TimeSpan,
    bind: impl Fn() -> Result<T, ListenError>,
) -> Result<T, ListenError> {
    let start = Instant::now();
    let is_late = || {
        let limit = patience.finite();
        limit.is_some_and(|limit| start.elapsed() >= limit)
    };
    let mut is_logged = false;
    loop {
        match bind() {
            Err(ListenError::Bind { address, source })
                if source.kind() == io::ErrorKind::AddrInUse && !is_late() =>
            {
                if !is_logged {
                    tracing::info!(%address, "waiting for the address, which is in use");
                    is_logged = true;
                }
                sleep(INTERVAL).await;
            }
            result => return result,
        }
    }
}

impl Listener {
    /// Listens at `socket_address`, one of those of `address`.
    fn take_or_bind(
        address: &Address,
        (domain, socket_address): (Domain, &SockAddr),
        sockets: &mut PredecessorSockets,
    ) -> Result<Self, ListenError> {
        let path = match address {
            Address::Unix(path) => Some(path.as_path()),
            _ => None,
        };
        if let Some(socket) = sockets.take(socket_address) {
            return Self::of_predecessor(socket, path);
        }
        if let Some(path) = path {
            remove_stale(path);
        }
        match bind_socket(domain, socket_address) {
            Ok(socket) => Ok(Self::new(socket.into(), path.and_then(SocketFile::bound))?),
            // Every address of the machine is every IPv4 address then.
            Err(error) if is_ipv6_missing(&error, socket_address) => {
                let port = socket_address.as_socket().map_or(0, |v6| v6.port());
                let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into();
                Self::take_or_bind(address, (Domain::IPV4, &anywhere), sockets)
            }
            Err(error) => Err(ListenError::of_bind(address, error)),
        }
    }

    /// Listens at all addresses. Fails for the first that is unknown, taken or forbidden.
    pub fn bind_all(addresses: &[Address]) -> Result<Vec<Self>, ListenError> {
        Self::take_or_bind_all(addresses, &mut PredecessorSockets::default())
    }

    /// As [`Self::bind_all`], with the predecessor's sockets where they match.
    pub fn take_or_bind_all(
        addresses: &[Address],
        sockets: &mut PredecessorSockets,
    ) -> Result<Vec<Self>, ListenError> {
        let mut listeners = Vec::new();
        for address in addresses {
            let fail = |error| ListenError::of_bind(address, error);
            // A name may have several.
            for (domain, socket_address) in socket_addresses(address).map_err(fail)? {
                let place = (domain, &socket_address);
                listeners.push(Self::take_or_bind(address, place, sockets)?);
            }
        }
        Ok(listeners)
    }
}

/// Whether binding at every address failed only because the kernel has no IPv6.
fn is_ipv6_missing(error: &io::Error, address: &SockAddr) -> bool {
    address.is_ipv6() && is_unspecified(address) && error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
