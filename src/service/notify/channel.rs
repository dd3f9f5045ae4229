//! The socket of `NOTIFY_SOCKET`: a path, or a name in the abstract namespace (unix(7)).
//!
//! It is opened once. Sending needs no further descriptor and does not allocate.

use std::env;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::service::kernel::poll_for;
use crate::service::rights;

/// Room for `MAINPID=` with the number of a process.
const CLAIM_BYTES: usize = 32;

/// A socket that sends to systemd.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Channel {
    /// To `NOTIFY_SOCKET`; `None` if it is not set.
    pub(super) fn of_environment() -> io::Result<Option<Self>> {
        env::var_os("NOTIFY_SOCKET")
            .map(|name| Self::to(name.as_bytes()))
            .transpose()
    }

    /// To a path, or to `@` and a name in the abstract namespace.
    pub(super) fn to(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [b'/', ..] => SocketAddrUnix::new(name)?,
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "NOTIFY_SOCKET is no path",
                ));
            }
        };
        let cloexec = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, cloexec, None)?;
        Ok(Self { socket, address })
    }

    /// Sends a message and descriptors. With `DONTWAIT` it fails with [`io::ErrorKind::WouldBlock`] while the
    /// queue of messages is full (`net.unix.max_dgram_qlen`).
    pub(super) fn send(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        rights::send_to(
            &self.socket,
            Some(&self.address),
            message,
            descriptors,
            flags,
        )?;
        Ok(())
    }

    /// Notifies systemd that the calling process is the main process now (`MAINPID=`). Does not allocate. If
    /// it fails, systemd sees that the main process has died.
    pub fn claim_main_process(&self) {
        let mut message = [0; CLAIM_BYTES];
        let mut rest = &mut message[..];
        if write!(rest, "MAINPID={}", std::process::id()).is_ok() {
            let length = CLAIM_BYTES - rest.len();
            let _ = self.send(&message[..length], &[], SendFlags::empty());
        }
    }

    /// Waits until systemd has processed all messages before (`BARRIER=1`, sd_notify(3)), at most for `limit`.
    /// Returns whether it has. Does not allocate. Fails when systemd cannot be notified, or descriptors have run out.
    pub(crate) fn wait_for_barrier(&self, limit: Duration) -> io::Result<bool> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        self.send(b"BARRIER=1", &[write.as_fd()], SendFlags::empty())?;
        drop(write);
        // systemd closes its copy, the last one.
        Ok(!poll_for(read.as_fd(), PollFlags::empty(), limit)?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn the_calling_process_claims_to_be_the_main_process_at_a_path_and_at_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("@notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        for (systemd, name) in [
            (UnixDatagram::bind(&path), path.as_os_str().as_bytes()),
            (UnixDatagram::bind_addr(&address), name.as_bytes()),
        ] {
            let systemd = systemd.unwrap();
            Channel::to(name).unwrap().claim_main_process();
            let mut buffer = [0; 100];
            let length = systemd.recv(&mut buffer).unwrap();
            let expected = format!("MAINPID={}", std::process::id());
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
    }

    #[test]
    fn a_name_that_is_no_address_is_refused() {
        for name in [&b""[..], b"notify", &[b'/'; 200]] {
            assert!(Channel::to(name).is_err());
        }
    }
}
