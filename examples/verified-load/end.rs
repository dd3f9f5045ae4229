//! One end of a connection: a socket and its received data.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use disnix_proxy_example::service::client_socket::ClientSocket;
use rustix::net::{RecvFlags, Shutdown};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::bytes::Bytes;
use crate::connection::Connection;
use crate::failure::Failure;

/// The largest receive, in bytes.
const MOST: usize = 256 * 1024;

thread_local! {
    /// Shared by all ends: its contents are processed before another end's turn.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MOST]);
}

/// A connected socket.
#[derive(Debug)]
pub struct End {
    stream: TcpStream,
    /// The name of the end, for reports.
    pub whose: &'static str,
    /// Sending has failed. The kernel reports a reset once, so the receiver may not see it.
    broken: Cell<Option<ErrorKind>>,
    // Dropped last: ends the connection if it was handed over.
    _handed_over: Option<ClientSocket>,
}

impl End {
    pub fn new(stream: TcpStream, whose: &'static str) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            whose,
            broken: Cell::new(None),
            _handed_over: None,
        })
    }

    /// The end of a local socket, used like any stream socket.
    pub fn local(stream: UnixStream, whose: &'static str) -> io::Result<Self> {
        let socket = OwnedFd::from(stream.into_std()?);
        Ok(Self {
            stream: TcpStream::from_std(socket.into())?,
            whose,
            broken: Cell::new(None),
            _handed_over: None,
        })
    }

    /// The end of a client that was handed over.
    pub fn handed_over(client: ClientSocket, whose: &'static str) -> io::Result<Self> {
        use std::os::fd::AsFd;
        let stream = std::net::TcpStream::from(client.as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        let mut end = Self::new(TcpStream::from_std(stream)?, whose)?;
        end._handed_over = Some(client);
        Ok(end)
    }

    /// Receives once and passes the bytes to `take`; no bytes mean the end.
    pub async fn receive<T>(&self, mut take: impl FnMut(&[u8]) -> T) -> Result<T, Failure> {
        loop {
            let ready = self.stream.readable().await;
            ready.map_err(|error| self.failure(&error))?;
            let taken = SCRATCH.with_borrow_mut(|scratch| {
                let mut received = None;
                let result = self.stream.try_io(Interest::READABLE, || {
                    let (_, count) =
                        rustix::net::recv(&self.stream, &mut scratch[..], RecvFlags::empty())?;
                    received = Some(count);
                    match count {
                        0 | MOST => Ok(()),
                        // There is no more: epoll reports later data.
                        _ => Err(ErrorKind::WouldBlock.into()),
                    }
                });
                match (received, result) {
                    (Some(count), _) => Ok(Some(take(&scratch[..count]))),
                    (None, Err(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                    (None, Err(error)) => Err(self.failure(&error)),
                    (None, Ok(())) => Ok(None),
                }
            })?;
            if let Some(taken) = taken {
                return Ok(taken);
            }
        }
    }

    /// Sends as much as the socket accepts now.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.stream.try_write(bytes);
        match &result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                self.broken.set(Some(error.kind()));
            }
            _ => {}
        }
        result
    }

    /// Sends some of it.
    pub async fn send(&self, bytes: &[u8]) -> Result<usize, Failure> {
        loop {
            match self.try_send(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let ready = self.stream.writable().await;
                    ready.map_err(|error| self.failure(&error))?;
                }
                result => return result.map_err(|error| self.failure(&error)),
            }
        }
    }

    /// Shuts down the writing side.
    pub fn finish(&self) -> Result<(), Failure> {
        let result = rustix::net::shutdown(&self.stream, Shutdown::Write);
        result.map_err(|error| self.failure(&error.into()))
    }

    /// Limits its receive buffer.
    pub fn has_receive_buffer(&self, size: usize) {
        // Without the limit the test still works.
        let _ = SockRef::from(&self.stream).set_recv_buffer_size(size);
    }

    /// Resets the connection.
    pub fn reset(self) -> Result<(), Failure> {
        let result = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        result.map_err(|error| self.failure(&error))
    }

    /// The failure of an early end.
    pub fn ended(&self, received: u64, expected: u64) -> Failure {
        match self.broken.get() {
            Some(kind) => self.failure(&kind.into()),
            None => Failure::early(self.whose, received, expected),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::of(error, self.whose)
    }
}

/// The received data of one end, checked byte by byte.
#[derive(Debug)]
pub struct Hearing<'a> {
    pub connection: &'a Connection,
    pub says: Bytes,
    /// Its counter.
    pub counter: &'a Cell<u64>,
    pub whose: &'static str,
}

impl Hearing<'_> {
    /// Checks received bytes.
    pub fn take(&self, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        let offset = self.counter.get();
        if let Some(at) = self.says.first_error(offset, bytes) {
            let from = usize::try_from(at - offset).unwrap_or_default();
            let wrong = &bytes[from..bytes.len().min(from + 16)];
            return Err(Failure::Corrupt(format!(
                "byte {at} is wrong at the {}: {wrong:02x?} came instead of {:02x?}",
                self.whose,
                self.says.at(at, wrong.len()),
            )));
        }
        self.connection.moved(self.counter, bytes.len() as u64, now);
        Ok(())
    }
}
