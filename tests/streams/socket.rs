//! The test's own ends of connections: stream sockets that a runtime watches.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use disnix_proxy_example::service::arrival::Accepted;
use disnix_proxy_example::service::client_socket::ClientSocket;
use disnix_proxy_example::service::handover::Queue;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn watch<T: AsRawFd>(owner: T) -> AsyncFd<T> {
    // SAFETY: `owner` owns its descriptor and keeps it as long as it lives, in the `AsyncFd`.
    unsafe { AsyncFd::register(owner) }.unwrap()
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    fd: AsyncFd<ClientSocket>,
    pub is_tcp: bool,
    /// For TCP: where this end is, and the other one.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

impl Socket {
    fn new(fd: ClientSocket, addresses: Option<(SocketAddr, SocketAddr)>) -> Self {
        Self {
            fd: watch(fd),
            is_tcp: addresses.is_some(),
            addresses,
        }
    }

    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let addresses = stream.local_addr().unwrap();
        // A peer that has gone already has no address any more.
        let peer = stream.peer_addr().unwrap_or(addresses);
        let socket = ClientSocket::accepted(stream.into());
        Self::new(socket, Some((addresses, peer)))
    }

    pub fn unix(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self::new(ClientSocket::accepted(stream.into()), None)
    }

    fn handed_over(client: ClientSocket) -> Self {
        Self {
            fd: watch(client),
            is_tcp: true,
            addresses: None,
        }
    }

    /// Buffers as small as the kernel allows, socket(7).
    ///
    /// The other end's data can overtake the news of the smaller window. The kernel drops it, and with it a
    /// reset that follows: its number is outside the window then (RFC 9293, 3.10.7.4). Both ends would wait
    /// for good, so this one asks after a second whether the other still exists.
    pub fn has_tiny_buffers(&self) {
        sockopt::set_socket_recv_buffer_size(&self.fd, 1).unwrap();
        sockopt::set_socket_send_buffer_size(&self.fd, 1).unwrap();
        if self.is_tcp {
            sockopt::set_socket_keepalive(&self.fd, true).unwrap();
            sockopt::set_tcp_keepidle(&self.fd, Duration::from_secs(1)).unwrap();
            sockopt::set_tcp_keepintvl(&self.fd, Duration::from_secs(1)).unwrap();
        }
    }

    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |fd: &ClientSocket| {
            let (count, _) = rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?;
            Ok(count)
        };
        self.fd.async_io(Interest::READABLE, receive).await
    }

    /// Sends what the socket takes now.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send_with(bytes, SendFlags::empty())
    }

    pub fn try_send_with(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        let send =
            |fd: &ClientSocket| Ok(rustix::net::send(fd, bytes, flags | SendFlags::NOSIGNAL)?);
        self.fd.try_io(Interest::WRITABLE, send)
    }

    pub async fn writable(&self) {
        self.fd.writable().await.unwrap().retain_ready();
    }

    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Closes it with a reset; an AF_UNIX socket knows none and is closed.
    pub fn reset(self) {
        sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO)).unwrap();
    }

    /// Bytes that were sent and that the other end's kernel does not have yet.
    pub fn on_the_way(&self) -> u64 {
        if !self.is_tcp {
            return 0;
        }
        let mut bytes = 0;
        // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
        assert_eq!(result, 0);
        u64::try_from(bytes).unwrap()
    }
}

/// Where a proxy listens.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// Connects; both families are connected at once as long as the backlog has room.
    pub fn connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(address) => Socket::tcp(TcpStream::connect(address)?),
            Self::Unix(path) => Socket::unix(UnixStream::connect(path)?),
        })
    }
}

/// Where the test waits for the proxy.
#[derive(Debug)]
pub enum Upstream {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Clients are not relayed to it but handed over.
    Handover(UnixDatagram),
}

impl Upstream {
    /// A copy that the runtime watches.
    pub fn watched(&self) -> AsyncFd<Self> {
        let copy = match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone().unwrap()),
            Self::Unix(listener) => Self::Unix(listener.try_clone().unwrap()),
            Self::Handover(queue) => Self::Handover(queue.try_clone().unwrap()),
        };
        match &copy {
            Self::Tcp(listener) => listener.set_nonblocking(true).unwrap(),
            Self::Unix(listener) => listener.set_nonblocking(true).unwrap(),
            // It is never waited for.
            Self::Handover(_) => {}
        }
        watch(copy)
    }

    /// Accepts a connection that is there, or waits for one if the listener blocks.
    pub fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => Socket::tcp(listener.accept()?.0),
            Self::Unix(listener) => Socket::unix(listener.accept()?.0),
            Self::Handover(queue) => match Queue::default().receive(queue.as_fd())? {
                Accepted::Client(client) => Socket::handed_over(client.socket),
                Accepted::Gone | Accepted::NoClient => {
                    panic!("nobody leaves before being accepted")
                }
                Accepted::Exhausted(error) => return Err(error),
            },
        })
    }
}

impl AsRawFd for Upstream {
    fn as_raw_fd(&self) -> i32 {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
            Self::Handover(queue) => queue.as_raw_fd(),
        }
    }
}

/// Waits for a connection.
pub async fn accept(upstream: &AsyncFd<Upstream>) -> Socket {
    let accept = upstream.async_io(Interest::READABLE, Upstream::accept);
    accept.await.unwrap()
}
