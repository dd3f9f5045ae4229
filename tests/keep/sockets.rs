//! Sockets of all kinds: TCP, MPTCP and local ones.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Unix,
    Mptcp,
}

/// The address of a listener.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Mptcp(SocketAddr),
}

impl Kind {
    /// A listener, in this directory if it has a path.
    pub fn listen(self, directory: &Path, name: &str) -> (OwnedFd, Place) {
        match self {
            Self::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                (listener.into(), Place::Tcp(address))
            }
            Self::Unix => {
                let path = directory.join(name);
                let listener = UnixListener::bind(&path).unwrap();
                (listener.into(), Place::Unix(path))
            }
            Self::Mptcp => {
                let listener = mptcp().expect("this kernel has no MPTCP");
                let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
                listener.bind(&anywhere.into()).unwrap();
                listener.listen(128).unwrap();
                let address = listener.local_addr().unwrap().as_socket().unwrap();
                (listener.into(), Place::Mptcp(address))
            }
        }
    }
}

impl Place {
    /// What the proxy is told as its target.
    pub fn target(&self) -> String {
        match self {
            Self::Tcp(address) | Self::Mptcp(address) => address.to_string(),
            Self::Unix(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// A connected socket.
    pub fn connect(&self) -> io::Result<Socket> {
        let (socket, address) = match self {
            Self::Tcp(address) => (
                Socket::new(Domain::IPV4, Type::STREAM, None)?,
                (*address).into(),
            ),
            Self::Mptcp(address) => (mptcp()?, (*address).into()),
            Self::Unix(path) => (
                Socket::new(Domain::UNIX, Type::STREAM, None)?,
                SockAddr::unix(path)?,
            ),
        };
        socket.connect(&address)?;
        Ok(socket)
    }
}

/// A socket of MPTCP, if the kernel supports it.
pub fn mptcp() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
}

/// A stream socket of either family.
pub trait StreamSocket: Read + Write + Send + Sized + 'static {
    fn copy(&self) -> Self;
    fn end(&self) -> io::Result<()>;
    fn cut(&self);
    fn be_patient(&self);
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

impl StreamSocket for TcpStream {
    fn copy(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
    fn be_patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

impl StreamSocket for UnixStream {
    fn copy(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
    fn be_patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

pub trait Forever<S> {
    fn incoming_forever(self) -> impl FnMut() -> S + Send + 'static;
}

impl Forever<TcpStream> for TcpListener {
    fn incoming_forever(self) -> impl FnMut() -> TcpStream + Send + 'static {
        move || {
            let (stream, _) = self.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        }
    }
}

impl Forever<UnixStream> for UnixListener {
    fn incoming_forever(self) -> impl FnMut() -> UnixStream + Send + 'static {
        move || self.accept().unwrap().0
    }
}
