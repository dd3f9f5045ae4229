//! A queue of messages with descriptors: a pair of AF_UNIX sockets, in one direction (unix(7)).

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, socketpair, sockopt,
};

use super::message::{BYTES_MAX, LotEntry, entries, read_entries};
use crate::service::kernel::peek_onwards;
use crate::service::rights::{self, Carried};

/// What the socket may hold, in bytes; the kernel takes what is allowed (`net.core.wmem_max`). 212,992,
/// which is allowed everywhere, is enough for 555 connections, or for 41,000 of them in full messages.
const ROOM: usize = 4 * 1024 * 1024;

/// A pair of sockets: what is sent to one of them is received from the other.
pub type SocketPair = [OwnedFd; 2];

pub fn pair() -> Result<SocketPair, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        sockopt::set_socket_send_buffer_size(end, ROOM)?;
    }
    Ok([one, other])
}

/// A message, with copies of its descriptors.
#[derive(Debug)]
pub struct LotMessage {
    pub entries: Vec<LotEntry>,
    pub descriptors: std::vec::IntoIter<OwnedFd>,
}

pub(super) fn send(
    socket: BorrowedFd<'_>,
    entries: &[LotEntry],
    descriptors: &[RawFd],
) -> Result<(), Errno> {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.bytes()).collect();
    let descriptors: Vec<BorrowedFd<'_>> = descriptors
        .iter()
        // SAFETY: the owner of a slot keeps its descriptors open until it releases the slot, and what is
        // sent are those of slots, under the lock that releasing takes. The kernel finds out if one is not.
        .map(|number| unsafe { BorrowedFd::borrow_raw(*number) })
        .collect();
    rights::send(socket, &bytes, &descriptors, SendFlags::DONTWAIT).map(drop)
}

/// Throws away everything in a queue.
pub fn empty(socket: BorrowedFd<'_>) {
    while throw_away(socket) {}
}

/// Throws away the oldest message. Returns whether there was one. Its descriptors are closed, because
/// nothing receives them.
pub(super) fn throw_away(socket: BorrowedFd<'_>) -> bool {
    retry_on_intr(|| recv(socket, &mut [0], RecvFlags::DONTWAIT)).is_ok_and(|(bytes, _)| bytes > 0)
}

/// Takes a message out of a queue without reading it. Returns the descriptors that came with it, as far as
/// there was room; `None` when there is no message.
pub fn take(socket: BorrowedFd<'_>) -> Option<Vec<OwnedFd>> {
    let message = receive(socket, &mut [0; BYTES_MAX], RecvFlags::empty());
    Some(message.ok()??.descriptors)
}

/// Looks at everything in a queue, from the oldest to the newest, and leaves out what makes no sense.
/// Returns the number of messages.
/// Fails with `MFILE` when not all descriptors could be received.
pub fn look(socket: BorrowedFd<'_>, each: &mut impl FnMut(LotMessage)) -> Result<usize, Errno> {
    let mut count = 0;
    peek_while(socket, || {
        let mut buffer = [0; BYTES_MAX];
        let Some(message) = receive(socket, &mut buffer, RecvFlags::PEEK)? else {
            return Ok(false);
        };
        if message.is_truncated {
            return Err(Errno::MFILE);
        }
        count += 1;
        if let Some(entries) = entries(&buffer[..message.bytes], message.descriptors.len()) {
            let descriptors = message.descriptors.into_iter();
            each(LotMessage {
                entries,
                descriptors,
            });
        }
        Ok(true)
    })?;
    Ok(count)
}

/// Shows `each` what the messages of a queue say, from the oldest on, until it returns false.
pub(super) fn look_ahead(
    socket: BorrowedFd<'_>,
    mut each: impl FnMut(Vec<LotEntry>) -> bool,
) -> Result<(), Errno> {
    let mut buffer = [0; BYTES_MAX];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    peek_while(socket, || {
        match retry_on_intr(|| recv(socket, &mut buffer, flags)) {
            Ok((bytes, _)) => Ok(bytes > 0 && each(read_entries(&buffer[..bytes]))),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    })
}

/// Calls `peek` as long as it returns true; each time, `MSG_PEEK` shows the next message.
fn peek_while(
    socket: BorrowedFd<'_>,
    mut peek: impl FnMut() -> Result<bool, Errno>,
) -> Result<(), Errno> {
    peek_onwards(socket, true).map_err(|_| Errno::INVAL)?;
    let result = loop {
        match peek() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(errno) => break Err(errno),
        }
    };
    peek_onwards(socket, false).map_err(|_| Errno::INVAL)?;
    result
}

/// The next message; `None` when there is none.
fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<Option<Carried>, Errno> {
    match rights::receive(socket, buffer, flags | RecvFlags::DONTWAIT) {
        Ok(message) if message.bytes > 0 => Ok(Some(message)),
        Ok(_) | Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
