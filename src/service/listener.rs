//! Listeners: from systemd, from a predecessor, or our own.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, ipproto, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::activation::Inherited;
use super::address::Address;
use super::arrival::has_gone;
pub use super::arrival::{Accepted, Arrival, Peer};
use super::congestion;
use super::exhausted::is_exhausted;
use super::handover::{self, Queue};
use super::kernel;
use super::socket::{check_kind, local_name};
use super::socket_file::{SocketFile, instead_of_socket};
use super::stream::{keep_alive, send_at_once};

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Bind { address: Address, source: io::Error },
    /// Something else is at its path.
    #[error("cannot listen on {address}: there is {found}, and no socket; name another path")]
    Occupied {
        address: Address,
        found: &'static str,
    },
    /// It is not a listening stream socket.
    #[error("{0}")]
    WrongKind(String),
    /// The runtime cannot watch it.
    #[error("cannot watch a listening socket: {0}")]
    Watch(#[from] io::Error),
}

impl ListenError {
    pub(super) fn of_bind(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        let found = match &address {
            Address::Unix(path) | Address::Handover(path) => instead_of_socket(path),
            _ => None,
        };
        match found.filter(|_| source.kind() == io::ErrorKind::AddrInUse) {
            Some(found) => Self::Occupied { address, found },
            None => Self::Bind { address, source },
        }
    }
}

/// What to do about the error.
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

/// A listening stream socket, or a handover socket.
#[derive(Debug)]
pub struct Listener {
    fd: Arc<OwnedFd>,
    /// Only where the runtime waits for clients: each would wake it.
    watch: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    name: String,
    /// Of a handover socket, see [`super::handover`].
    queue: Option<Queue>,
    is_inherited: bool,
    /// Whether it is of MPTCP: then each client's protocol has to be looked up.
    is_mptcp: bool,
    /// Removed with it, unless it is shared.
    file: Option<SocketFile>,
    /// Whether another process has it, and decides on its end.
    is_shared: AtomicBool,
    keepalive: Option<Duration>,
    /// Whether a client may wait that came before [`Self::set_options`], without the options, or that has gone.
    has_old: AtomicBool,
}

impl Listener {
    /// Takes an inherited socket. Fails with a sentence when it is no listening stream socket.
    pub fn inherited(fd: OwnedFd) -> Result<Self, ListenError> {
        check_kind(&fd).map_err(ListenError::WrongKind)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        let mut listener = Self::new(fd, None)?;
        listener.is_inherited = true;
        Ok(listener)
    }

    /// Takes all these sockets, see [`Self::inherited`]. One of another kind is closed, with a warning, so that
    /// the clients of the others are served. Fails for the first of another kind, if all are.
    pub fn inherit_all(sockets: Vec<Inherited>) -> Result<Vec<Self>, ListenError> {
        let mut listeners = Vec::new();
        let mut useless = Vec::new();
        for Inherited { fd, name } in sockets {
            match Self::inherited(fd) {
                Ok(listener) => listeners.push(listener),
                Err(error) => useless.push((error, name)),
            }
        }
        if listeners.is_empty() && !useless.is_empty() {
            return Err(useless.swap_remove(0).0);
        }
        for (error, name) in useless {
            tracing::warn!(ERROR = %error, NAME = name, "{error}; “{name}” is not used");
        }
        Ok(listeners)
    }

    /// Takes a socket from which the predecessor still accepts. Dropping it changes nothing for the
    /// predecessor, until [`Self::keep`] is called. Fails as [`Self::inherited`].
    pub fn of_predecessor(fd: OwnedFd, path: Option<&Path>) -> Result<Self, ListenError> {
        let mut listener = Self::inherited(fd)?;
        listener.is_inherited = false;
        listener.file = path.and_then(SocketFile::of_predecessor);
        listener.leave();
        Ok(listener)
    }

    /// Takes an inherited handover socket. Fails with a sentence when it is another kind of socket.
    pub fn inherited_handover(fd: OwnedFd) -> Result<Self, ListenError> {
        handover::check_kind(&fd).map_err(ListenError::WrongKind)?;
        let mut listener = Self::of_handover(fd, None)?;
        listener.is_inherited = true;
        Ok(listener)
    }

    /// Makes a handover socket at `path`. Fails when the path is taken or forbidden.
    pub fn bind_handover(path: &Path) -> Result<Self, ListenError> {
        let address = Address::Handover(path.to_owned());
        let socket = handover::bind(path).map_err(|error| ListenError::of_bind(&address, error))?;
        Ok(Self::of_handover(socket, SocketFile::bound(path))?)
    }

    fn of_handover(fd: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        let mut listener = Self::new(fd, file)?;
        listener.queue = Some(Queue::default());
        if let Some(path) = listener.name.strip_prefix("unix:") {
            listener.name = format!("handover:{path}");
        }
        Ok(listener)
    }

    pub(super) fn new(fd: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        let name = local_name(&fd);
        let is_mptcp = sockopt::socket_protocol(&fd) == Ok(Some(ipproto::MPTCP));
        Ok(Self {
            fd: Arc::new(fd),
            watch: OnceLock::new(),
            name,
            queue: None,
            is_inherited: false,
            is_mptcp,
            file,
            is_shared: AtomicBool::new(false),
            keepalive: None,
            has_old: AtomicBool::new(true),
        })
    }

    /// From now on only this process has the socket.
    pub fn own(&self) {
        self.is_shared.store(false, Relaxed);
    }

    /// From now on the socket belongs to another process: dropping ours must not end it.
    pub fn leave(&self) {
        self.is_shared.store(true, Relaxed);
    }

    pub fn is_handover(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether it was inherited, so that it outlives the process.
    pub fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// Makes clients' sockets send small pieces at once, and break if the client does not answer probes for
    /// `keepalive`. Nothing to do for AF_UNIX.
    ///
    /// Accepted sockets inherit that from the listener, at no cost. It is set one by one for clients that wait
    /// already. Fails when the kernel does not take the values.
    pub fn set_options(&mut self, keepalive: Option<Duration>) -> io::Result<()> {
        if self.is_handover() {
            // The process that accepts them has done it.
            return Ok(());
        }
        if keepalive.is_none() && !self.is_inherited {
            // The predecessor may have turned it on.
            sockopt::set_socket_keepalive(&*self.fd, false)?;
        }
        self.keepalive = keepalive;
        self.expect_old();
        congestion::never_for_local_clients(&*self.fd);
        set_options(&*self.fd, keepalive)
    }

    /// Accepting has paused: clients that wait may have gone.
    pub fn expect_old(&self) {
        self.has_old.store(true, Relaxed);
    }

    fn watch(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let watch = kernel::watch(Arc::clone(&self.fd), Interest::READABLE)?;
        Ok(self.watch.get_or_init(|| watch))
    }

    /// Accepts a client. If none waits, the next one wakes the task. Fails only for good: the socket does not
    /// listen (any more), or the runtime cannot watch it.
    pub fn accept(&self, context: &mut Context<'_>) -> io::Result<Accepted> {
        loop {
            // Pending makes the next client wake the task, so it comes last.
            let Poll::Ready(ready) = self.watch()?.poll_read_ready(context) else {
                return Ok(Accepted::NoClient);
            };
            match self.accept_now()? {
                Accepted::NoClient => ready?.clear_ready(),
                accepted => return Ok(accepted),
            }
        }
    }

    /// Accepts a client, whether or not the runtime watches the socket. Fails as [`Self::accept`].
    pub fn accept_now(&self) -> io::Result<Accepted> {
        let result = match &self.queue {
            Some(queue) => queue.receive(self.fd.as_fd()),
            None => self.accept_from_backlog(),
        };
        result.or_else(|errno| match errno {
            Errno::AGAIN => {
                // Clients that are accepted from now on have just come.
                self.has_old.store(false, Relaxed);
                Ok(Accepted::NoClient)
            }
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP => Err(errno.into()),
            errno if is_exhausted(&errno.into()) => Ok(Accepted::Exhausted(errno.into())),
            // accept(2) returns pending errors of the network, and a firewall's refusal.
            _ => Ok(Accepted::Gone),
        })
    }

    fn accept_from_backlog(&self) -> Result<Accepted, Errno> {
        // Otherwise accepting would wait if the socket blocks. Whether it does is a property of the open file, which
        // other processes have too: systemd clears `O_NONBLOCK` whenever it passes the socket to a service without
        // `NonBlocking=yes` (systemd.service(5)).
        if !self.backlog_has_client() {
            return Err(Errno::AGAIN);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, address) = rustix::net::acceptfrom_with(&*self.fd, flags)?;
        if self.has_old.load(Relaxed) {
            if has_gone(&fd) {
                return Ok(Accepted::Gone);
            }
            // It fails only for a client that has gone, which shows later.
            let _ = set_options(&fd, self.keepalive);
        }
        let arrival = Arrival::accepted(fd, address, self.is_mptcp);
        Ok(Accepted::Client(arrival))
    }

    /// Whether a client waits now.
    pub fn has_waiting(&self) -> bool {
        if self.queue.as_ref().is_some_and(Queue::has_waiting) {
            return true;
        }
        self.backlog_has_client()
    }

    fn backlog_has_client(&self) -> bool {
        kernel::poll_now(self.as_fd(), PollFlags::IN).map_or(true, |flags| !flags.is_empty())
    }

    /// The clients that wait, and the size of the backlog; `None` where the kernel does not say (AF_UNIX).
    pub fn queue(&self) -> Option<(u32, u32)> {
        kernel::tcp_info(&*self.fd)
            .ok()
            .map(|info| (info.unacked, info.sacked))
    }
}

impl fmt::Display for Listener {
    /// Its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Some(file), false) = (&self.file, self.is_shared.load(Relaxed)) {
            file.remove();
        }
    }
}

fn set_options(socket: impl AsFd, keepalive: Option<Duration>) -> io::Result<()> {
    send_at_once(&socket);
    keepalive.map_or(Ok(()), |limit| keep_alive(&socket, limit))
}

/// Waits for the next client of any of the listeners. Fails as [`Listener::accept`]. Cancel safe.
pub async fn next_arrival(listeners: &[Listener]) -> io::Result<Accepted> {
    poll_fn(|context| {
        for listener in listeners {
            match listener.accept(context)? {
                Accepted::NoClient => {}
                accepted => return Poll::Ready(Ok(accepted)),
            }
        }
        Poll::Pending
    })
    .await
}
