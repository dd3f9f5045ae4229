//! A connected stream socket, whatever its family.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ending;
use super::kernel::{self, TcpInfo};

/// What kind of stream socket it is, as far as it matters to who receives from it: whether the kernel
/// counts what is received and sent, and a receive that is short has emptied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// AF_UNIX, MPTCP, vsock or any other.
    Other,
}

/// A connected stream socket, ours or accepted, that the runtime watches: owned, so that dropping it
/// closes it, or borrowed.
///
/// [`Self::receive`] and [`Self::send`] never block, also on a socket that lacks `O_NONBLOCK` (one
/// that was handed over, perhaps); all else needs one that has it.
#[derive(Debug)]
pub struct Stream<F: AsFd + AsRawFd = OwnedFd> {
    fd: AsyncFd<F>,
}

impl Stream {
    /// Takes a connected stream socket.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it (no descriptors or memory left).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::of(fd)
    }

    /// The socket itself.
    pub fn into_fd(self) -> OwnedFd {
        self.fd.into_inner()
    }
}

impl<F: AsFd + AsRawFd> Stream<F> {
    /// As [`Self::new`]. The runtime of the calling thread watches it.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it (no memory or watches left).
    pub fn of(fd: F) -> io::Result<Self> {
        let fd = kernel::watch(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { fd })
    }

    /// Receives what is there, at least a byte; 0 means that the peer has shut down its writing
    /// side. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection is broken, `ConnectionReset` above all.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd
            .async_io(Interest::READABLE, |fd| {
                let (count, _) = rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
                Ok(count)
            })
            .await
    }

    /// Waits until something may be there to be received, or the end.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await?.retain_ready();
        Ok(())
    }

    /// Waits until something can be sent, or a connection in the making is decided.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        self.fd.writable().await?.retain_ready();
        Ok(())
    }

    /// Sends as much as the socket takes, at least a byte. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection is broken, `ConnectionReset` or `BrokenPipe` above all.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fd
            .async_io(Interest::WRITABLE, |fd| {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(rustix::net::send(fd, bytes, flags)?)
            })
            .await
    }

    /// Sends everything. Not cancel safe: what was sent by then is not known.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.send(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Shuts down the writing side: the peer reads the end once it has read everything.
    ///
    /// # Errors
    ///
    /// When the connection is broken already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Waits until the connection is broken: reset by the peer, or given up by the kernel. Does not
    /// notice that the peer has shut down its writing side, which is no break. Cancel safe.
    pub async fn broken(&self) {
        // A failure means that the runtime shuts down: the task that waits here is dropped with it.
        if let Ok(mut guard) = self.fd.ready(Interest::ERROR).await {
            guard.retain_ready();
        }
    }

    /// The error that the kernel keeps for a broken socket, if any; it is told once.
    pub fn take_error(&self) -> Option<io::Error> {
        match sockopt::socket_error(&self.fd) {
            Ok(Ok(())) => None,
            Ok(Err(errno)) | Err(errno) => Some(errno.into()),
        }
    }

    /// See [`ending::reset_on_close`].
    pub fn reset_on_close(&self) {
        ending::reset_on_close(&self.fd);
    }

    /// What TCP knows; `None` for other families.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        kernel::tcp_info(&self.fd).ok()
    }

    /// Bytes that were sent and that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        kernel::unacknowledged_bytes(self.fd.as_fd()).unwrap_or(0)
    }
}

impl<F: AsFd + AsRawFd> AsFd for Stream<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the kernel send small pieces at once instead of collecting them (`TCP_NODELAY`, tcp(7)). Set
/// on a listener it holds for every socket that is accepted from it. Nothing to do for other
/// families.
pub fn send_at_once(socket: impl AsFd) {
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Has the kernel probe an idle TCP peer so that one that does not answer for `limit` is taken for
/// gone (tcp(7): `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, whole seconds). Set on a listener
/// it holds for every socket that is accepted from it. Nothing to do for other families.
///
/// `TCP_USER_TIMEOUT` is left alone on purpose: it also ends connections whose peer is well but does
/// not read for so long (`tcp_probe_timer`, `net/ipv4/tcp_timer.c`).
///
/// # Errors
///
/// When the kernel does not take the values.
pub fn keep_alive(socket: impl AsFd, limit: Duration) -> io::Result<()> {
    let (idle, interval, count) = keepalive_parameters(limit);
    let settings = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(idle))
        .with_interval(Duration::from_secs(interval))
        .with_retries(count);
    match SockRef::from(&socket).set_tcp_keepalive(&settings) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        result => result,
    }
}

/// Seconds until the first probe, seconds between probes, and how many probes: together at most
/// `limit`, as far as whole seconds allow it.
fn keepalive_parameters(limit: Duration) -> (u64, u64, u32) {
    // The kernel takes at most 32,767 s for each (MAX_TCP_KEEPIDLE, include/net/tcp.h).
    let limit = limit.as_secs().clamp(2, 60_000);
    let idle = limit / 2;
    let count = (limit - idle).min(5);
    (idle, (limit - idle) / count, count as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keepalive_ends_within_the_limit(seconds in 2u64..60_000) {
            let (idle, interval, count) = keepalive_parameters(Duration::from_secs(seconds));
            prop_assert!(idle >= 1 && interval >= 1 && count >= 1);
            prop_assert!(idle <= 32_767 && interval <= 32_767);
            let total = idle + interval * u64::from(count);
            prop_assert!(total <= seconds && total + 5 > seconds);
        }
    }

    #[tokio::test]
    async fn a_reset_is_seen_without_receiving() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let stream = Stream::new(server.into()).unwrap();
        ending::reset_on_close(&client);
        drop(client);
        stream.broken().await;
        assert!(stream.tcp_info().unwrap().closed);
        assert_eq!(
            stream.take_error().unwrap().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[tokio::test]
    async fn the_end_of_what_the_peer_writes_is_no_break() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::new(ours.into()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.receive(&mut [0; 8]).await.unwrap(), 0);
        stream.send_all(b"still here").await.unwrap();
        assert!(stream.tcp_info().is_none());
    }
}
