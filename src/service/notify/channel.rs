//! The socket at which systemd listens, for what `sd-notify` cannot do: send without waiting, reach the
//! abstract namespace (unix(7)), and send from a process that may not allocate.

use std::env;
use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Room for `MAINPID=` with the number of a process.
const CLAIM_BYTES: usize = 32;

/// systemd, as `NOTIFY_SOCKET` says where it listens.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    address: libc::sockaddr_un,
    length: libc::socklen_t,
}

/// Room for `SCM_RIGHTS` with one descriptor, aligned as its header.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    descriptor: RawFd,
}

impl Channel {
    /// The one that this process was given; `None` without `NOTIFY_SOCKET`.
    ///
    /// # Errors
    ///
    /// When it is neither a path nor a name in the abstract namespace, or no descriptor is left.
    pub fn of_environment() -> io::Result<Option<Self>> {
        env::var_os("NOTIFY_SOCKET")
            .map(|name| Self::to(name.as_bytes()))
            .transpose()
    }

    /// To the socket with this name: a path, or `@` and a name in the abstract namespace.
    pub(super) fn to(name: &[u8]) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // SAFETY: zeros are a valid address.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        // The last byte is the end of the text.
        if !matches!(name.first(), Some(b'/' | b'@')) || name.len() >= address.sun_path.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "NOTIFY_SOCKET is no path",
            ));
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (place, byte) in address.sun_path.iter_mut().zip(name) {
            *place = *byte as c_char;
        }
        // In the abstract namespace it begins with a null byte, and its length counts, unix(7).
        let end = match name.first() {
            Some(b'@') => {
                address.sun_path[0] = 0;
                name.len()
            }
            _ => name.len() + 1,
        };
        let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + end;
        Ok(Self {
            socket,
            address,
            length: length as libc::socklen_t,
        })
    }

    /// Sends a message; with `MSG_DONTWAIT` among the `flags` it fails rather than wait for systemd to read.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] while the queue of messages is full (`net.unix.max_dgram_qlen`); others
    /// when nobody listens.
    pub(super) fn send(&self, message: &[u8], flags: libc::c_int) -> io::Result<()> {
        // SAFETY: address and message are here, and as long as is said.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                flags | libc::MSG_NOSIGNAL,
                (&raw const self.address).cast(),
                self.length,
            )
        };
        match sent {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Notifies systemd that the calling process is the main process now (`MAINPID=`). Allocates nothing. If
    /// it fails, systemd sees that the main process has died.
    pub fn claim_main_process(&self) {
        use std::io::Write;
        let mut message = [0; CLAIM_BYTES];
        let mut rest = &mut message[..];
        if write!(rest, "MAINPID={}", std::process::id()).is_ok() {
            let length = CLAIM_BYTES - rest.len();
            let _ = self.send(&message[..length], 0);
        }
    }

    /// Waits until systemd has acted on all messages before (`BARRIER=1`), at most for `limit_ms`
    /// milliseconds. Allocates nothing.
    pub fn wait_for_barrier(&self, limit_ms: libc::c_int) {
        const BARRIER: &[u8] = b"BARRIER=1";
        let mut ends: [RawFd; 2] = [-1; 2];
        // SAFETY: everything that is pointed to is here, and as long as is said; the descriptors are ours.
        unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
                return;
            }
            let mut control = Control {
                header: std::mem::zeroed(),
                descriptor: ends[1],
            };
            control.header.cmsg_level = libc::SOL_SOCKET;
            control.header.cmsg_type = libc::SCM_RIGHTS;
            control.header.cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            let mut part = libc::iovec {
                iov_base: BARRIER.as_ptr().cast_mut().cast(),
                iov_len: BARRIER.len(),
            };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_name = (&raw const self.address).cast_mut().cast();
            message.msg_namelen = self.length;
            message.msg_iov = &mut part;
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let sent = libc::sendmsg(self.socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL);
            libc::close(ends[1]);
            if sent >= 0 {
                let mut answer = libc::pollfd {
                    fd: ends[0],
                    events: 0,
                    revents: 0,
                };
                libc::poll(&mut answer, 1, limit_ms);
            }
            libc::close(ends[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn the_calling_process_claims_to_be_the_main_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let channel = Channel::to(path.as_os_str().as_bytes()).unwrap();
        channel.claim_main_process();
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        let expected = format!("MAINPID={}", std::process::id());
        assert_eq!(&buffer[..length], expected.as_bytes());
    }

    #[test]
    fn a_name_without_a_path_is_reached() {
        let name = format!("notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let channel = Channel::to(format!("@{name}").as_bytes()).unwrap();
        channel.send(b"WATCHDOG=1", 0).unwrap();
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }

    #[test]
    fn a_name_that_is_no_address_is_refused() {
        for name in [&b""[..], b"notify", &[b'/'; 200]] {
            assert!(Channel::to(name).is_err());
        }
    }
}
