//! A queue of messages with descriptors: a pair of AF_UNIX sockets, in one direction (unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use super::message::{BYTES_MAX, DESCRIPTORS_MAX, LotEntry, entries, read_entries};
use crate::service::kernel::peek_onwards;

/// What the socket may hold; the kernel takes what is allowed (`net.core.wmem_max`). 212,992, which is
/// allowed everywhere, is enough for 555 connections, or for 41,000 of them in full messages.
const ROOM: usize = 4 * 1024 * 1024;

/// A pair of sockets: what is sent to one of them is received from the other.
pub type SocketPair = [OwnedFd; 2];

/// Makes a pair.
pub fn pair() -> Result<SocketPair, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        sockopt::set_socket_send_buffer_size(end, ROOM)?;
    }
    Ok([one, other])
}

/// A message that was looked at.
#[derive(Debug)]
pub struct SeenMessage {
    pub entries: Vec<LotEntry>,
    pub descriptors: std::vec::IntoIter<OwnedFd>,
}

/// Sends descriptors.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    entries: &[LotEntry],
    descriptors: &[RawFd],
) -> Result<(), Errno> {
    debug_assert!(descriptors.len() <= DESCRIPTORS_MAX);
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.bytes()).collect();
    let borrowed: Vec<BorrowedFd<'_>> = descriptors
        .iter()
        // SAFETY: whoever has a slot keeps its descriptors open until it is released, and what is sent
        // are those of slots, under the lock that releasing takes. The kernel finds out if one is not.
        .map(|number| unsafe { BorrowedFd::borrow_raw(*number) })
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// Throws away everything in a queue.
pub fn empty(socket: BorrowedFd<'_>) {
    while throw_away(socket) {}
}

/// Throws away the oldest message; whether there was one. Without room for descriptors, they are closed.
pub(super) fn throw_away(socket: BorrowedFd<'_>) -> bool {
    loop {
        let mut byte = [0];
        let mut control = RecvAncillaryBuffer::new(&mut []);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, &mut bytes, &mut control, RecvFlags::DONTWAIT) {
            Ok(message) => return message.bytes > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Takes a message out of a queue, whatever it says: the descriptors that came with it, as many as there
/// was room for. `None` when there is none.
pub fn take(socket: BorrowedFd<'_>) -> Result<Option<Vec<OwnedFd>>, Errno> {
    let mut buffer = [0; BYTES_MAX];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    Ok(receive(socket, &mut buffer, flags)?.map(|(_, descriptors, _)| descriptors))
}

/// Looks at everything in a queue, from the oldest to the newest; how many messages there are. Those
/// that make no sense are left out.
///
/// # Errors
///
/// `MFILE` when not all descriptors could be received.
pub fn look(socket: BorrowedFd<'_>, each: &mut impl FnMut(SeenMessage)) -> Result<usize, Errno> {
    peek_onwards(socket, true).map_err(|_| Errno::INVAL)?;
    let mut seen = 0;
    let result = loop {
        match peek(socket) {
            Ok(Some(message)) => message.into_iter().for_each(&mut *each),
            Ok(None) => break Ok(()),
            Err(errno) => break Err(errno),
        }
        seen += 1;
    };
    peek_onwards(socket, false).map_err(|_| Errno::INVAL)?;
    result.map(|()| seen)
}

/// Tells what the messages of a queue say, from the oldest one on, while `each` wants more of them.
pub(super) fn look_ahead(
    socket: BorrowedFd<'_>,
    mut each: impl FnMut(Vec<LotEntry>) -> bool,
) -> Result<(), Errno> {
    let mut buffer = [0; BYTES_MAX];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    peek_onwards(socket, true).map_err(|_| Errno::INVAL)?;
    let result = loop {
        let mut control = RecvAncillaryBuffer::new(&mut []);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match recvmsg(socket, &mut parts, &mut control, flags) {
            Ok(message) if message.bytes == 0 => break Ok(()),
            Ok(message) => {
                if !each(read_entries(&buffer[..message.bytes])) {
                    break Ok(());
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break Ok(()),
            Err(errno) => break Err(errno),
        }
    };
    peek_onwards(socket, false).map_err(|_| Errno::INVAL)?;
    result
}

/// The next message that was not shown yet; `Some(None)` if it makes no sense.
fn peek(socket: BorrowedFd<'_>) -> Result<Option<Option<SeenMessage>>, Errno> {
    let mut buffer = [0; BYTES_MAX];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let Some((bytes, descriptors, complete)) = receive(socket, &mut buffer, flags)? else {
        return Ok(None);
    };
    if !complete {
        return Err(Errno::MFILE);
    }
    let entries = entries(&buffer[..bytes], descriptors.len());
    Ok(Some(entries.map(|entries| SeenMessage {
        entries,
        descriptors: descriptors.into_iter(),
    })))
}

/// A message's length, its descriptors, and whether it was complete; `None` when there is none.
fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<Option<(usize, Vec<OwnedFd>, bool)>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = match recvmsg(socket, &mut parts, &mut control, flags) {
        Ok(received) if received.bytes > 0 => received,
        Ok(_) | Err(Errno::AGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let complete = !received.flags.contains(ReturnFlags::CTRUNC);
    Ok(Some((received.bytes, descriptors, complete)))
}
