//! A listening stream socket: systemd's or our own.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, ipproto, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::activation::Inherited;
use super::address::Address;
pub use super::arrival::{Accepted, Arrival, Peer};
use super::arrival::{accepted, handed_over, has_gone};
use super::congestion;
use super::handover::{self, Queue};
use super::inspect::{check_kind, local_name};
use super::kernel;
use super::socket_file::{SocketFile, instead_of_socket};
use super::stream::{keep_alive, send_at_once};

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
    /// Something else is at its path.
    #[error("cannot listen on {address}: there is {found}, and no socket; name another path")]
    Occupied {
        /// Where.
        address: Address,
        /// What is there.
        found: &'static str,
    },
    /// It is not a stream socket that listens.
    #[error("{0}")]
    WrongKind(String),
    /// The runtime cannot watch it.
    #[error("cannot watch a listening socket: {0}")]
    Watch(#[from] io::Error),
}

impl ListenError {
    /// Why a socket could not be bound.
    pub(super) fn of_bind(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        let found = match &address {
            Address::Unix(path) | Address::Handover(path)
                if source.kind() == io::ErrorKind::AddrInUse =>
            {
                instead_of_socket(path)
            }
            _ => None,
        };
        match found {
            Some(found) => Self::Occupied { address, found },
            None => Self::Bind { address, source },
        }
    }
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

/// A listening stream socket, or one to which clients are handed over.
#[derive(Debug)]
pub struct Listener {
    fd: Arc<OwnedFd>,
    /// Only where somebody waits in the runtime: what is watched wakes it.
    watch: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    name: String,
    /// If clients are received, not accepted: [`super::handover`].
    queue: Option<Queue>,
    inherited: bool,
    /// Of MPTCP: whether a client is too has to be asked for each.
    is_mptcp: bool,
    /// What ends with it, if it was made here or is ours now.
    file: Option<SocketFile>,
    /// Whether another process listens on it, so that it is that one's to say when it ends.
    shared: AtomicBool,
    keepalive: Option<Duration>,
    /// Whether somebody may wait who has come a while ago: before [`Self::set_options`], so that its
    /// socket has not inherited them; or so long ago that it may have gone.
    has_old: AtomicBool,
}

impl Listener {
    /// Takes a socket that was inherited, after looking whether it is one that can be accepted from.
    ///
    /// # Errors
    ///
    /// A sentence that names the socket and what it is instead.
    pub fn inherited(fd: OwnedFd) -> Result<Self, ListenError> {
        check_kind(&fd).map_err(ListenError::WrongKind)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        let mut listener = Self::new(fd, None)?;
        listener.inherited = true;
        Ok(listener)
    }

    /// Takes all of these sockets, see [`Self::inherited`]. One that cannot be accepted from is closed, and
    /// that is told: nobody who comes to the others has to wait for it.
    ///
    /// # Errors
    ///
    /// For the first that cannot be accepted from, if there is no other.
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

    /// Takes a socket that another process hands over and still accepts from. If that process goes
    /// on, dropping this changes nothing for it; [`Self::keep`] says that it does not.
    ///
    /// # Errors
    ///
    /// As [`Self::inherited`].
    pub fn handed(fd: OwnedFd, path: Option<&Path>) -> Result<Self, ListenError> {
        let mut listener = Self::inherited(fd)?;
        listener.inherited = false;
        listener.file = path.and_then(SocketFile::handed);
        listener.leave();
        Ok(listener)
    }

    /// Takes a socket that was inherited and to which clients are handed over.
    ///
    /// # Errors
    ///
    /// A sentence, when it is another kind of socket.
    pub fn inherited_handover(fd: OwnedFd) -> Result<Self, ListenError> {
        handover::check_kind(&fd).map_err(ListenError::WrongKind)?;
        let mut listener = Self::new(fd, None)?;
        listener.inherited = true;
        listener.be_handover();
        Ok(listener)
    }

    /// Makes a socket at `path` to which clients are handed over.
    ///
    /// # Errors
    ///
    /// When the path is taken or forbidden.
    pub fn bind_handover(path: &Path) -> Result<Self, ListenError> {
        let address = Address::Handover(path.to_owned());
        let socket = handover::bind(path).map_err(|error| ListenError::of_bind(&address, error))?;
        let mut listener = Self::new(socket, SocketFile::bound(path))?;
        listener.be_handover();
        Ok(listener)
    }

    fn be_handover(&mut self) {
        self.queue = Some(Queue::default());
        if let Some(path) = self.name.strip_prefix("unix:") {
            self.name = format!("handover:{path}");
        }
    }

    pub(super) fn new(fd: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        let name = local_name(&fd);
        let is_mptcp = sockopt::socket_protocol(&fd) == Ok(Some(ipproto::MPTCP));
        Ok(Self {
            fd: Arc::new(fd),
            watch: OnceLock::new(),
            name,
            queue: None,
            inherited: false,
            is_mptcp,
            file,
            shared: AtomicBool::new(false),
            keepalive: None,
            has_old: AtomicBool::new(true),
        })
    }

    /// The socket is ours alone from now on.
    pub fn keep(&self) {
        self.shared.store(false, Relaxed);
    }

    /// The socket is another process's from now on: what we do to ours must not end it.
    pub fn leave(&self) {
        self.shared.store(true, Relaxed);
    }

    /// Whether clients are handed over to it instead of accepted.
    pub fn is_handover(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether it was inherited, so that it lives on when we end.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Has every client's socket send small pieces at once, and be probed so that a client which
    /// does not answer for `keepalive` is taken for gone. Nothing to do for AF_UNIX.
    ///
    /// Accepted sockets inherit it from the listener, at no cost for each, but for those who wait
    /// already (one of them is why systemd has started us): those are told one by one.
    ///
    /// # Errors
    ///
    /// When the kernel does not take the values.
    pub fn set_options(&mut self, keepalive: Option<Duration>) -> io::Result<()> {
        if self.is_handover() {
            // Whoever accepts them has seen to it.
            return Ok(());
        }
        if keepalive.is_none() && !self.inherited {
            // The process before may have had it on.
            sockopt::set_socket_keepalive(&*self.fd, false)?;
        }
        self.keepalive = keepalive;
        self.expect_old();
        congestion::never_for_local_clients(&*self.fd);
        set_options(&*self.fd, keepalive)
    }

    /// Nobody was accepted for a while: who waits is not taken for somebody who has just come.
    pub fn expect_old(&self) {
        self.has_old.store(true, Relaxed);
    }

    /// Waits until somebody may be waiting. It may be wrong; [`Self::accept`] tells.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the socket.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = ready!(self.watch()?.poll_read_ready(context));
        if let Ok(mut guard) = ready {
            guard.retain_ready();
        }
        Poll::Ready(Ok(()))
    }

    fn watch(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let watch = kernel::watch(Arc::clone(&self.fd), Interest::READABLE)?;
        Ok(self.watch.get_or_init(|| watch))
    }

    /// Accepts one client, if one waits. When nobody does, [`Self::poll_ready`] waits for the next
    /// one; the two must be called in the same task.
    ///
    /// # Errors
    ///
    /// Only those that will not go away: the socket is not a listener (any more).
    pub fn accept(&self, context: &mut Context<'_>) -> io::Result<Accepted> {
        loop {
            // Pending is what has the task woken for the next client, so it comes last.
            let Poll::Ready(ready) = self.watch()?.poll_read_ready(context) else {
                return Ok(Accepted::Nobody);
            };
            match self.accept_now()? {
                Accepted::Nobody => ready?.clear_ready(),
                accepted => return Ok(accepted),
            }
        }
    }

    /// Accepts one client, if one waits, whoever watches the socket.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`].
    pub fn accept_now(&self) -> io::Result<Accepted> {
        let error = match &self.queue {
            Some(queue) => match queue.receive(self.fd.as_fd()) {
                Ok(received) => return Ok(handed_over(received)),
                Err(errno) => errno,
            },
            None => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                match rustix::net::acceptfrom_with(&*self.fd, flags) {
                    Ok((fd, address)) => {
                        let is_old = self.has_old.load(Relaxed);
                        if is_old && has_gone(&fd) {
                            return Ok(Accepted::Gone);
                        }
                        if is_old {
                            // It fails only for one who has gone, and that shows soon enough.
                            let _ = set_options(&fd, self.keepalive);
                        }
                        return Ok(accepted(fd, address, self.is_mptcp));
                    }
                    Err(errno) => errno,
                }
            }
        };
        match error {
            Errno::AGAIN => {
                // Whoever is accepted from now on has just come.
                self.has_old.store(false, Relaxed);
                Ok(Accepted::Nobody)
            }
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                Ok(Accepted::Exhausted(error.into()))
            }
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP => Err(error.into()),
            // Pending errors of the network that Linux hands to accept(2), and a firewall's refusal.
            _ => Ok(Accepted::Gone),
        }
    }

    /// Whether somebody waits at this very moment.
    pub fn has_waiting(&self) -> bool {
        if self.queue.as_ref().is_some_and(Queue::has_waiting) {
            return true;
        }
        kernel::poll_now(self.as_fd(), PollFlags::IN).is_ok_and(|flags| !flags.is_empty())
    }

    /// Clients that wait, and how many can; `None` where the kernel does not tell (AF_UNIX).
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
        if let (Some(file), false) = (&self.file, self.shared.load(Relaxed)) {
            file.remove();
        }
    }
}

fn set_options(socket: impl AsFd, keepalive: Option<Duration>) -> io::Result<()> {
    send_at_once(&socket);
    keepalive.map_or(Ok(()), |limit| keep_alive(&socket, limit))
}
