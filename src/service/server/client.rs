//! A client while it is served.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::service::arrival::{Arrival, Peer};
use crate::service::client_socket::ClientSocket;
use crate::service::stream::Stream;

/// A client while it is served. The connection ends when its [handler](super::ClientHandler) has returned.
///
/// A library with a stream of its own, such as Tokio's, gets a copy of the descriptor:
/// `client.as_fd().try_clone_to_owned()`, made non-blocking, because a socket that was handed over may block. The copy
/// has to be closed before the handler returns.
#[derive(Debug)]
pub struct ServedClient {
    stream: Stream<ClientSocket>,
    peer: Peer,
}

impl ServedClient {
    /// Makes the runtime watch the client's socket. Fails when descriptors or memory have run out.
    pub(super) fn of(arrival: Arrival) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::of(arrival.socket)?,
            peer: arrival.peer,
        })
    }

    /// The identity of the client; also that of one that was handed over.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Receives at least a byte; 0 means that the client has ended its side. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection is broken, mostly `ConnectionReset`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.receive(buffer).await
    }

    /// Sends everything. Not cancel safe: how much was sent is not known then.
    ///
    /// # Errors
    ///
    /// When the connection is broken, mostly `ConnectionReset` or `BrokenPipe`.
    pub async fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.send_all(bytes).await
    }

    /// Ends this side: the client reads the end after everything that was sent, and may go on sending.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown_write()
    }
}

impl AsFd for ServedClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
