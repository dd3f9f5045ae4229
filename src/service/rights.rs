//! Messages that carry descriptors: `SCM_RIGHTS`, unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, recvmsg, sendmsg, sendmsg_addr,
};

/// The most descriptors that one message can carry: `SCM_MAX_FD`, unix(7).
pub const DESCRIPTORS_MAX: usize = 253;

/// Sends bytes, at least one, and descriptors with them; the number of bytes that were sent. Allocates
/// nothing.
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
    with_rights(descriptors, |ancillary| {
        let flags = flags | SendFlags::NOSIGNAL;
        sendmsg(socket, &[IoSlice::new(bytes)], ancillary, flags)
    })
}

/// The same to a socket that it is not connected to. Allocates nothing.
///
/// # Errors
///
/// As [`send`].
pub fn send_to(
    socket: impl AsFd,
    address: &SocketAddrUnix,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    with_rights(descriptors, |ancillary| {
        let flags = flags | SendFlags::NOSIGNAL;
        sendmsg_addr(socket, address, &[IoSlice::new(bytes)], ancillary, flags)
    })
}

/// Sends with the descriptors in the ancillary data.
fn with_rights(
    descriptors: &[BorrowedFd<'_>],
    send: impl FnOnce(&mut SendAncillaryBuffer<'_, '_, '_>) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    send(&mut ancillary)
}

/// What was received.
#[derive(Debug)]
pub struct Carried {
    /// How many bytes.
    pub bytes: usize,
    /// The descriptors that came with them.
    pub descriptors: Vec<OwnedFd>,
    /// Whether some of them were lost: the limit of open descriptors was reached, and the kernel has closed
    /// those that had no room.
    pub is_truncated: bool,
}

/// Receives bytes and the descriptors that come with them; never those of two messages at once, unix(7).
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
        if let RecvAncillaryMessage::ScmRights(received) = one {
            descriptors.extend(received);
        }
    }
    Ok(Carried {
        bytes: message.bytes,
        descriptors,
        is_truncated: message.flags.contains(ReturnFlags::CTRUNC),
    })
}
