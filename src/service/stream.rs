//! Connected stream sockets of any family.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::kernel;

/// Whether a socket is TCP: then the kernel counts its bytes, and a short receive has emptied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// AF_UNIX, MPTCP, vsock or any other.
    Other,
}

/// A connected stream socket that the runtime watches; owned, so that dropping it closes it, or borrowed.
///
/// [`Self::receive`] and [`Self::send`] never block, also without `O_NONBLOCK`: a handed-over socket may lack it.
#[derive(Debug)]
pub struct Stream<F: AsFd + AsRawFd = OwnedFd> {
    fd: AsyncFd<F>,
}

impl Stream {
    pub fn into_fd(self) -> OwnedFd {
        self.fd.into_inner()
    }
}

impl<F: AsFd + AsRawFd> Stream<F> {
    /// Makes the calling thread's runtime watch a connected stream socket. Fails as [`kernel::watch`].
    pub fn of(fd: F) -> io::Result<Self> {
        let fd = kernel::watch(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { fd })
    }

    /// Receives at least a byte; 0 means that the peer has shut down its writing side. Cancel safe. Fails when
    /// the connection is broken, mostly `ConnectionReset`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd
            .async_io(Interest::READABLE, |fd| {
                let (count, _) = rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
                Ok(count)
            })
            .await
    }

    /// Waits until bytes or the end may be received. Fails when the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await?.retain_ready();
        Ok(())
    }

    /// Waits until bytes can be sent, or connect(2) has succeeded or failed. Fails as [`Self::readable`].
    pub async fn writable(&self) -> io::Result<()> {
        self.fd.writable().await?.retain_ready();
        Ok(())
    }

    /// Sends at least a byte, and as much as the socket has room for. Cancel safe. Fails when the connection is
    /// broken, mostly `ConnectionReset` or `BrokenPipe`.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fd
            .async_io(Interest::WRITABLE, |fd| {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(rustix::net::send(fd, bytes, flags)?)
            })
            .await
    }

    /// Sends everything. Not cancel safe: how much was sent is not known then. Fails as [`Self::send`].
    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.send(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Shuts down the writing side: the peer reads the end after everything sent. Fails if the connection is broken.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Waits until the connection is reset by the peer or given up by the kernel; a half-close is neither. Cancel safe.
    pub async fn broken(&self) {
        // It fails only when the runtime shuts down, which drops the task.
        if let Ok(mut guard) = self.fd.ready(Interest::ERROR).await {
            guard.retain_ready();
        }
    }
}

impl<F: AsFd + AsRawFd> AsFd for Stream<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Takes the error of a broken socket (`SO_ERROR`); the kernel returns it once.
pub fn take_error(socket: impl AsFd) -> Option<io::Error> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => None,
        Ok(Err(errno)) | Err(errno) => Some(errno.into()),
    }
}

/// Makes the kernel send small pieces at once (`TCP_NODELAY`, tcp(7)). Accepted sockets inherit it from their
/// listener. Other families have no such option.
pub fn send_at_once(socket: impl AsFd) {
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Makes the kernel probe an idle TCP peer, and break the connection if it does not answer for `limit` (tcp(7):
/// `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, whole seconds). Accepted sockets inherit it from their
/// listener. Other families have no such option.
///
/// `TCP_USER_TIMEOUT` is not used: it also ends connections whose peer lives but does not read for that long
/// (`tcp_probe_timer`, `net/ipv4/tcp_timer.c`). Fails when the kernel does not take the values.
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

/// Seconds until the first probe, seconds between probes, and the number of probes: together at most `limit`.
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
        let (client, server) = crate::service::loopback::pair();
        server.set_nonblocking(true).unwrap();
        let stream = Stream::of(server).unwrap();
        crate::service::ending::reset_on_close(&client);
        drop(client);
        stream.broken().await;
        assert!(kernel::tcp_info(&stream).unwrap().closed);
        let error = take_error(&stream).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_end_of_what_the_peer_writes_is_no_break() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::of(ours).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.receive(&mut [0; 8]).await.unwrap(), 0);
        stream.send_all(b"still here").await.unwrap();
        assert!(kernel::tcp_info(&stream).is_err());
    }
}
