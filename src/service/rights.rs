//! Messages that carry descriptors: `SCM_RIGHTS`, unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, recvmsg, sendmsg, sendmsg_addr,
};

/// The most descriptors of one message: `SCM_MAX_FD`, unix(7).
pub const DESCRIPTORS_MAX: usize = 253;

/// Sends bytes, at least one, and descriptors. Returns the number of bytes that were sent. Does not allocate.
///
/// # Errors
///
/// As sendmsg(2); `TOOBIG` for more than [`DESCRIPTORS_MAX`].
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    send_to(socket, None, bytes, descriptors, flags)
}

/// As [`send`], to an address if the socket is not connected.
pub(crate) fn send_to(
    socket: impl AsFd,
    address: Option<&SocketAddrUnix>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let (bytes, flags) = ([IoSlice::new(bytes)], flags | SendFlags::NOSIGNAL);
    match address {
        Some(address) => sendmsg_addr(socket, address, &bytes, &mut ancillary, flags),
        None => sendmsg(socket, &bytes, &mut ancillary, flags),
    }
}

/// A message that was received.
#[derive(Debug)]
pub struct Carried {
    /// The number of bytes.
    pub bytes: usize,
    /// The descriptors that came with them.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel has closed some descriptors because of the limit of open ones.
    pub is_truncated: bool,
}

/// Receives bytes and descriptors; never the descriptors of two messages at once, unix(7).
///
/// # Errors
///
/// As recvmsg(2).
pub fn receive(socket: impl AsFd, bytes: &mut [u8], flags: RecvFlags) -> Result<Carried, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(bytes)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut pieces, &mut ancillary, flags)?;
    let mut descriptors = Vec::new();
    for one in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = one {
            descriptors.extend(rights);
        }
    }
    Ok(Carried {
        bytes: message.bytes,
        descriptors,
        is_truncated: message.flags.contains(ReturnFlags::CTRUNC),
    })
}
