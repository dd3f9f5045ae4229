//! The way to the process that receives clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::service::address::Address;
use crate::service::handover::wire;
use crate::service::kernel;

/// A datagram socket that is connected to the receiver's. It is watched only while somebody waits for
/// room: it would tell of every datagram that is received.
#[derive(Debug)]
pub struct Sender {
    target: Arc<Address>,
    name: String,
    socket: OwnedFd,
    /// Of those who wait for room the one that came first has it.
    turn: Arc<Mutex<()>>,
}

/// The right to send next.
#[derive(Debug)]
pub struct SendPermit {
    sender: Arc<Sender>,
    _turn: OwnedMutexGuard<()>,
}

impl Sender {
    /// Connects to the handover socket at `path`.
    ///
    /// # Errors
    ///
    /// As connect(2): `ConnectionRefused` and `NotFound` when nobody has one there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        let target = Address::Handover(path.to_owned());
        Ok(Self {
            name: target.to_string(),
            target: Arc::new(target),
            socket: socket.into(),
            turn: Arc::default(),
        })
    }

    /// Where it leads.
    pub fn target(&self) -> &Arc<Address> {
        &self.target
    }

    /// The same as text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether that is `path`.
    pub fn leads_to(&self, path: &Path) -> bool {
        matches!(&*self.target, Address::Handover(there) if there == path)
    }

    /// Sends clients with their tokens, see [`wire::send`].
    ///
    /// # Errors
    ///
    /// `AGAIN` when there is no room.
    pub fn send<'fd>(
        &self,
        clients: impl IntoIterator<Item = (BorrowedFd<'fd>, BorrowedFd<'fd>)>,
    ) -> Result<(), Errno> {
        wire::send(&self.socket, clients)
    }

    /// The right to send next, if nobody waits for it.
    pub fn at_once(self: &Arc<Self>) -> Option<SendPermit> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        Some(self.give(turn))
    }

    /// Waits for the right to send next, in the order of the calls, and then for room. Cancel safe,
    /// but for the place among those who wait.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn in_turn(self: &Arc<Self>) -> io::Result<SendPermit> {
        let turn = self.give(Arc::clone(&self.turn).lock_owned().await);
        self.room().await?;
        Ok(turn)
    }

    fn give(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> SendPermit {
        SendPermit {
            sender: Arc::clone(self),
            _turn: turn,
        }
    }

    /// Waits until a datagram may be sent, or the socket is broken. It may be wrong, but not for
    /// ever. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down, or cannot watch it.
    async fn room(&self) -> io::Result<()> {
        let watch = kernel::watch(self.socket.as_fd(), Interest::WRITABLE)?;
        loop {
            let mut ready = watch.writable().await?;
            if is_writable(self.socket.as_fd()) {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

impl AsFd for Sender {
    /// It becomes writable when there is room.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl SendPermit {
    /// The sender that it is a turn of.
    pub fn sender(&self) -> &Arc<Sender> {
        &self.sender
    }
}

/// Whether there is room at this moment: poll(2), without waiting. It also has the kernel tell us
/// when there is (`unix_dgram_poll`, `net/unix/af_unix.c`).
fn is_writable(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
