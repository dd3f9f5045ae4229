//! A connection that has begun to be made.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{SockAddr, Socket};

use super::Spare;
use crate::proxy::loops::{LoopDetection, Noted};
use crate::service::stream::Stream;

/// The socket of an upstream.
#[derive(Debug)]
pub struct Upstream {
    /// For as long as it is remembered that the socket is ours.
    pub noted: Option<Noted>,
    /// The socket.
    pub socket: OwnedFd,
}

impl From<OwnedFd> for Upstream {
    /// One that another process has connected.
    fn from(socket: OwnedFd) -> Self {
        Self {
            noted: None,
            socket,
        }
    }
}

/// A connection in the making.
#[derive(Debug)]
pub enum Begun {
    /// It is made.
    Decided(Upstream),
    /// The peer has not answered yet.
    Pending(Upstream),
}

impl Begun {
    pub(super) fn new(
        socket: Socket,
        address: &SockAddr,
        spare: &mut Spare,
        loops: &Arc<LoopDetection>,
    ) -> io::Result<Self> {
        let (connected, noted) = loops.connect(&socket, address);
        let upstream = |socket: Socket| Upstream {
            noted,
            socket: socket.into(),
        };
        match connected {
            Ok(()) => Ok(Self::Decided(upstream(socket))),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok(Self::Pending(upstream(socket)))
            }
            // An AF_UNIX socket is decided at once; EAGAIN means that the listener's backlog is full.
            Err(error) => {
                spare.keep(socket);
                Err(error)
            }
        }
    }

    pub(super) async fn decided(self) -> io::Result<Upstream> {
        match self {
            Self::Decided(upstream) => Ok(upstream),
            Self::Pending(Upstream { noted, socket }) => {
                let socket = Waiting(Some(Stream::new(socket)?)).decided().await?;
                Ok(Upstream { noted, socket })
            }
        }
    }
}

/// A connection in the making that is waited for. If it is given up because the client has gone, an
/// upstream that has accepted it by then sees a reset: the client has not said that it has nothing to
/// say.
struct Waiting(Option<Stream>);

impl Waiting {
    async fn decided(mut self) -> io::Result<OwnedFd> {
        if let Some(stream) = &self.0 {
            // It becomes writable when it is decided, connect(2).
            stream.writable().await?;
            if let Some(error) = stream.take_error() {
                return Err(error);
            }
        }
        self.0
            .take()
            .map(Stream::into_fd)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset_on_close();
        }
    }
}
