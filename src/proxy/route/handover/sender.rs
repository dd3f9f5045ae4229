//! The way to the process that receives clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::service::address::Address;
use crate::service::handover::wire;
use crate::service::kernel;

/// A datagram socket that is connected to the receiver's. It is watched only while clients wait for room:
/// every datagram that is received would be an event.
#[derive(Debug)]
pub struct Sender {
    /// The address of the receiver.
    pub target: Arc<Address>,
    /// The address as text.
    pub name: String,
    socket: OwnedFd,
    /// Locked by the client that may send next.
    turn: Arc<Mutex<()>>,
}

/// The right to send next.
#[derive(Debug)]
pub struct SendPermit {
    pub sender: Arc<Sender>,
    _turn: OwnedMutexGuard<()>,
}

impl Sender {
    /// Connects to the handover socket at `path`. Fails with `ConnectionRefused` or `NotFound` if no process
    /// has one there.
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

    /// Sends clients with their tokens, see [`wire::send`]. Fails with `AGAIN` if there is no room.
    pub fn send<'fd>(
        &self,
        clients: impl IntoIterator<Item = (BorrowedFd<'fd>, BorrowedFd<'fd>)>,
    ) -> Result<(), Errno> {
        wire::send(&self.socket, clients)
    }

    /// The right to send next, if no client waits for it.
    pub fn permit_at_once(self: &Arc<Self>) -> Option<SendPermit> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        Some(self.permit_of(turn))
    }

    /// Waits for the right to send next, in the order of the calls, and then for room. Cancel safe, except
    /// for the place in the order. Fails if the runtime is shutting down.
    pub async fn permit(self: &Arc<Self>) -> io::Result<SendPermit> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let permit = self.permit_of(turn);
        self.room().await?;
        Ok(permit)
    }

    fn permit_of(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> SendPermit {
        SendPermit {
            sender: Arc::clone(self),
            _turn: turn,
        }
    }

    /// Waits until a datagram may be sent, or the socket is broken. It may be wrong, but not for ever.
    /// Cancel safe. Fails if the runtime is shutting down, or cannot watch the socket.
    async fn room(&self) -> io::Result<()> {
        let watch = kernel::watch(self.socket.as_fd(), Interest::WRITABLE)?;
        loop {
            let mut ready = watch.writable().await?;
            // poll(2) also has the kernel report when there is room (`unix_dgram_poll`, net/unix/af_unix.c).
            let now = kernel::poll_now(self.socket.as_fd(), PollFlags::OUT);
            if now.is_ok_and(|flags| !flags.is_empty()) {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

impl AsFd for Sender {
    /// The descriptor becomes writable when there is room.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
