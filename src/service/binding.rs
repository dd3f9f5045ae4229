//! New listening sockets, and patience where a predecessor may be listening still.

use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, chmod, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep};

use super::address::Address;
use super::listener::Listener;
use super::socket_file::{SocketFile, remove_stale};
use super::timespan::TimeSpan;

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It could not be bound.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Bind {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// It is not a stream socket that listens.
    #[error("{0}")]
    WrongKind(String),
    /// The runtime cannot watch it.
    #[error("cannot watch a listening socket: {0}")]
    Watch(#[from] io::Error),
}

/// The next step for a person who reads the error.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (is another program, or a .socket unit, listening there?)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE; better let a .socket unit listen)"
        }
        io::ErrorKind::NotFound => " (does its directory exist?)",
        _ => "",
    }
}

/// How many clients may wait in the backlog of a socket that we bind ourselves. The kernel lowers
/// it to `net.core.somaxconn`, listen(2).
const BACKLOG: i32 = 4096;

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
        let socket = bind_private_socket(path).map_err(|source| ListenError::Bind {
            address: Address::Unix(path.to_owned()),
            source,
        })?;
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
fn bind_private_socket(path: &Path) -> io::Result<Socket> {
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
