//! New listening sockets, and patience where a predecessor may be listening still.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::Domain;
use tokio::time::{Instant, sleep};

use super::address::Address;
use super::listener::{ListenError, Listener};
use super::predecessor::PredecessorSockets;
use super::socket::{
    bind_private_socket, bind_socket, has_family, is_unspecified, port, socket_addresses,
};
use super::socket_file::{SocketFile, remove_stale};
use super::timespan::TimeSpan;

/// How often to look whether an address has become free: no event tells.
const INTERVAL: Duration = Duration::from_millis(20);

/// Listens at all of these addresses. For one that is in use it waits for up to `patience`: a service
/// manager may start the next version while the previous one is on its way out.
///
/// # Errors
///
/// For the first that cannot be bound for another reason, or that is still in use then.
pub async fn bind_all(
    addresses: &[Address],
    patience: TimeSpan,
) -> Result<Vec<Listener>, ListenError> {
    patiently(patience, || Listener::bind_all(addresses)).await
}

/// Makes a socket at `path` to which clients are handed over, see [`bind_all`].
///
/// # Errors
///
/// As [`bind_all`].
pub async fn bind_handover(path: &Path, patience: TimeSpan) -> Result<Listener, ListenError> {
    patiently(patience, || Listener::bind_handover(path)).await
}

/// Makes a socket for callers at `path`, see [`bind_all`]: nobody but us and root can connect to it.
///
/// # Errors
///
/// As [`bind_all`].
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
    let started = Instant::now();
    let mut told = false;
    loop {
        match bind() {
            Err(ListenError::Bind { address, source })
                if source.kind() == io::ErrorKind::AddrInUse
                    && patience
                        .finite()
                        .is_none_or(|time| started.elapsed() < time) =>
            {
                if !told {
                    tracing::info!(%address, "waiting for the address, which is in use");
                    told = true;
                }
                sleep(INTERVAL).await;
            }
            result => return result,
        }
    }
}

impl Listener {
    /// Binds every address that `address` stands for (a name may have several) and listens there.
    ///
    /// # Errors
    ///
    /// When the address is unknown, taken or forbidden.
    pub fn bind(address: &Address) -> Result<Vec<Self>, ListenError> {
        Self::take_or_bind(address, &mut PredecessorSockets::default())
    }

    /// As [`Self::bind`], but takes from `handed` what listens there already.
    fn take_or_bind(
        address: &Address,
        handed: &mut PredecessorSockets,
    ) -> Result<Vec<Self>, ListenError> {
        let fail = |error| ListenError::of_bind(address, error);
        let mut listeners = Vec::new();
        for (domain, socket_address) in socket_addresses(address).map_err(fail)? {
            let path = match address {
                Address::Unix(path) => Some(path.as_path()),
                _ => None,
            };
            if let Some(socket) = handed.take(&socket_address) {
                listeners.push(Self::handed(socket, path)?);
                continue;
            }
            if let Some(path) = path {
                remove_stale(path);
            }
            let socket = match bind_socket(domain, &socket_address) {
                // Every address of a machine without IPv6 is every IPv4 address.
                Err(error) if is_unspecified(&socket_address) && !has_family(&error) => {
                    let anywhere = (Ipv4Addr::UNSPECIFIED, port(&socket_address));
                    let anywhere = SocketAddr::from(anywhere).into();
                    if let Some(socket) = handed.take(&anywhere) {
                        listeners.push(Self::handed(socket, None)?);
                        continue;
                    }
                    bind_socket(Domain::IPV4, &anywhere)
                }
                result => result,
            }
            .map_err(fail)?;
            listeners.push(Self::new(socket.into(), path.and_then(SocketFile::bound))?);
        }
        Ok(listeners)
    }

    /// Listens at all of these addresses, see [`Self::bind`].
    ///
    /// # Errors
    ///
    /// For the first that cannot be bound.
    pub fn bind_all(addresses: &[Address]) -> Result<Vec<Self>, ListenError> {
        Self::take_or_bind_all(addresses, &mut PredecessorSockets::default())
    }

    /// Listens at all of these addresses: on those sockets of `handed` that are bound to one of
    /// them, and where there is none on a new one.
    ///
    /// # Errors
    ///
    /// As [`Self::bind_all`].
    pub fn take_or_bind_all(
        addresses: &[Address],
        handed: &mut PredecessorSockets,
    ) -> Result<Vec<Self>, ListenError> {
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.extend(Self::take_or_bind(address, handed)?);
        }
        Ok(listeners)
    }
}
