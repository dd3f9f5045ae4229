//! The socket of a client, accepted here or handed over.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;

use super::ending;

/// The socket of a client. Dropping it ends the connection as close(2) of the only descriptor would, although
/// the process that handed it over has another one:
///
/// - by a reset, if that was asked for, or if bytes were not received (RFC 2525, section 2.17);
/// - otherwise in order, after everything that was sent.
///
/// Then the token is closed, which notifies that process.
#[derive(Debug)]
pub struct ClientSocket {
    // Dropped in this order.
    fd: OwnedFd,
    token: Option<OwnedFd>,
}

impl ClientSocket {
    /// A socket that was accepted here.
    pub fn accepted(fd: OwnedFd) -> Self {
        Self { fd, token: None }
    }

    /// A socket that was handed over.
    pub fn handed_over(fd: OwnedFd, token: OwnedFd) -> Self {
        Self {
            fd,
            token: Some(token),
        }
    }

    /// Closes the socket without ending the connection. The process that has handed it over does so again, if no byte
    /// was received or sent.
    pub fn give_back(mut self) {
        // Closed last, as always.
        let _token = self.token.take();
        drop(self);
    }

    /// Another descriptor of an AF_UNIX socket that was accepted here, for the runtime.
    ///
    /// # Errors
    ///
    /// When there are too many descriptors.
    pub fn to_unix(&self) -> io::Result<UnixStream> {
        let fd = self.fd.try_clone()?;
        UnixStream::from_std(StdUnixStream::from(fd))
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        if self.token.is_none() {
            return;
        }
        // The other process closes the last descriptor. Both fail only on a broken connection.
        if ending::is_to_be_reset(self.fd.as_fd()) {
            ending::reset_on_close(&self.fd);
        } else {
            let _ = shutdown(&self.fd, Shutdown::Write);
        }
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::loopback;
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    /// A client; the socket that serves it; the other process's descriptor of that, and its end of the token.
    fn handed_over() -> (TcpStream, ClientSocket, OwnedFd, std::io::PipeReader) {
        let (client, accepted) = loopback::pair();
        let other = OwnedFd::from(accepted.try_clone().unwrap());
        let (end, token) = std::io::pipe().unwrap();
        let socket = ClientSocket::handed_over(accepted.into(), token.into());
        (client, socket, other, end)
    }

    #[test]
    fn the_client_reads_everything_and_then_the_end_although_another_descriptor_is_open() {
        let (mut client, socket, other, mut end) = handed_over();
        let sent = rustix::net::send(&socket, b"answer", rustix::net::SendFlags::empty());
        assert_eq!(sent, Ok(6));
        drop(socket);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "and the token is closed");
        drop(other);
    }

    #[test]
    fn one_that_is_given_back_sees_nothing_and_its_token_is_closed() {
        let (mut client, socket, other, mut end) = handed_over();
        socket.give_back();
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(other);
    }

    #[test]
    fn unread_bytes_or_a_reset_that_was_asked_for_reset_it_when_the_other_descriptor_is_closed() {
        for is_asked_for in [false, true] {
            let (mut client, socket, other, mut end) = handed_over();
            if is_asked_for {
                ending::reset_on_close(&socket);
            } else {
                client.write_all(b"unread").unwrap();
                while rustix::io::ioctl_fionread(&socket).unwrap() == 0 {
                    std::thread::yield_now();
                }
            }
            drop(socket);
            assert_eq!(end.read(&mut [0]).unwrap(), 0);
            drop(other);
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}
