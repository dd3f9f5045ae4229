//! The lots: where descriptors are parked, so that they stay open whatever happens to the process.
//!
//! A message in an AF_UNIX socket holds the descriptors that were sent with it (unix(7)), and the
//! sockets are in systemd's store. There are two lots. One of them, the *active*, has every connection
//! in it, and many that have ended. When it is full all that live are parked in the other one, that one
//! becomes the active, and the first is emptied. So at every moment one of them is complete.
//!
//! A lot is one direction of several socketpairs, the other lot the other direction.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use super::layout::PAIRS;
use super::message::{BYTES_MAX, DESCRIPTORS_MAX, Entry, entries};
use crate::service::kernel::peek_onwards;

/// The most messages in a queue. Looking at what is in one takes a time that grows with its square.
const MESSAGES_MAX: usize = 512;

/// What the socket may hold; the kernel takes what is allowed (`net.core.wmem_max`). 212,992, which is
/// allowed everywhere, is enough for 555 connections, or for 41,000 of them in full messages.
const ROOM: usize = 4 * 1024 * 1024;

/// Which lot.
pub(super) type Side = usize;

/// A pair of sockets: what is sent to one of them is received from the other.
pub(super) type Pair = [OwnedFd; 2];

/// Makes a pair.
pub(super) fn pair() -> Result<Pair, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        sockopt::set_socket_send_buffer_size(end, ROOM)?;
    }
    Ok([one, other])
}

/// Both lots.
#[derive(Debug)]
pub(super) struct Lots {
    pairs: [Pair; PAIRS],
    counts: [[AtomicUsize; PAIRS]; 2],
    /// The queue that has room.
    current: [AtomicUsize; 2],
}

/// Why something was not parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The lot is full.
    Full,
    /// The kernel does not allow so many descriptors on their way (`RLIMIT_NOFILE`), or one of them is
    /// not open, or something else.
    Because(Errno),
}

/// A message that was looked at.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) entries: Vec<Entry>,
    pub(super) descriptors: std::vec::IntoIter<OwnedFd>,
}

impl Lots {
    pub(super) fn new(pairs: [Pair; PAIRS]) -> Self {
        Self {
            pairs,
            counts: Default::default(),
            current: Default::default(),
        }
    }

    /// The sockets, for the store.
    pub(super) fn parts(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.iter().flatten().map(AsFd::as_fd)
    }

    /// Parks the descriptors that these entries are about. What is in the lot by then stays there.
    pub(super) fn send(
        &self,
        side: Side,
        entries: &[Entry],
        descriptors: &[RawFd],
    ) -> Result<(), Refused> {
        let first = self.current[side].load(Relaxed);
        for queue in first..PAIRS {
            let count = &self.counts[side][queue];
            if count.load(Relaxed) < MESSAGES_MAX {
                match send(self.pairs[queue][side].as_fd(), entries, descriptors) {
                    Ok(()) => {
                        count.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                    Err(Errno::AGAIN) => {}
                    Err(errno) => return Err(Refused::Because(errno)),
                }
            }
            self.current[side].fetch_max(queue + 1, Relaxed);
        }
        Err(Refused::Full)
    }

    /// Messages in a lot.
    pub(super) fn messages(&self, side: Side) -> usize {
        self.counts[side]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }

    /// Throws away what is in a lot.
    pub(super) fn empty(&self, side: Side) {
        for (pair, count) in self.pairs.iter().zip(&self.counts[side]) {
            empty(pair[1 - side].as_fd());
            count.store(0, Relaxed);
        }
        self.current[side].store(0, Relaxed);
    }

    /// Looks at everything that is in a lot, and leaves it there.
    pub(super) fn look(&self, side: Side, mut each: impl FnMut(Message)) -> Result<(), Errno> {
        for (queue, (pair, count)) in self.pairs.iter().zip(&self.counts[side]).enumerate() {
            let seen = look(pair[1 - side].as_fd(), &mut each)?;
            count.store(seen, Relaxed);
            if seen > 0 {
                self.current[side].store(queue, Relaxed);
            }
        }
        Ok(())
    }
}

/// Sends descriptors.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    entries: &[Entry],
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

/// Throws away everything in a queue. Without room for descriptors, they are closed.
pub(super) fn empty(socket: BorrowedFd<'_>) {
    loop {
        let mut byte = [0];
        let mut control = RecvAncillaryBuffer::new(&mut []);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, &mut bytes, &mut control, RecvFlags::DONTWAIT) {
            Ok(message) if message.bytes == 0 => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
}

/// Takes a message out of a queue, whatever it says: the descriptors that came with it, as many as there
/// was room for. `None` when there is none.
pub(super) fn take(socket: BorrowedFd<'_>) -> Result<Option<Vec<OwnedFd>>, Errno> {
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
pub(super) fn look(socket: BorrowedFd<'_>, each: &mut impl FnMut(Message)) -> Result<usize, Errno> {
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

/// The next message that was not shown yet; `Some(None)` if it makes no sense.
fn peek(socket: BorrowedFd<'_>) -> Result<Option<Option<Message>>, Errno> {
    let mut buffer = [0; BYTES_MAX];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let Some((bytes, descriptors, complete)) = receive(socket, &mut buffer, flags)? else {
        return Ok(None);
    };
    if !complete {
        return Err(Errno::MFILE);
    }
    let entries = entries(&buffer[..bytes], descriptors.len());
    Ok(Some(entries.map(|entries| Message {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::keep::message::Kind;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn lots() -> Lots {
        Lots::new(std::array::from_fn(|_| pair().unwrap()))
    }

    fn client(index: u32) -> Entry {
        Entry {
            kind: Kind::Client,
            index,
            generation: 1,
        }
    }

    fn indices(lots: &Lots, side: Side) -> Vec<u32> {
        let mut seen = Vec::new();
        lots.look(side, |message| {
            assert_eq!(message.descriptors.len(), message.entries.len());
            seen.extend(message.entries.iter().map(|entry| entry.index));
        })
        .unwrap();
        seen
    }

    #[test]
    fn what_is_looked_at_stays_and_the_sides_do_not_mix() {
        let lots = lots();
        let (end, _) = UnixStream::pair().unwrap();
        for index in 0..5 {
            lots.send(index as usize % 2, &[client(index)], &[end.as_raw_fd()])
                .unwrap();
        }
        for _ in 0..3 {
            assert_eq!(indices(&lots, 0), [0, 2, 4]);
            assert_eq!(indices(&lots, 1), [1, 3]);
        }
        lots.empty(0);
        assert_eq!((indices(&lots, 0), lots.messages(0)), (vec![], 0));
        assert_eq!((indices(&lots, 1), lots.messages(1)), (vec![1, 3], 2));
    }

    #[test]
    fn a_lot_keeps_descriptors_open_and_emptying_it_closes_them() {
        let lots = lots();
        let (end, mut other) = UnixStream::pair().unwrap();
        lots.send(0, &[client(1)], &[end.as_raw_fd()]).unwrap();
        drop(end);
        other.write_all(b"x").unwrap();
        lots.empty(0);
        let error = other.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_lot_says_so_and_full_messages_hold_tens_of_thousands() {
        let lots = lots();
        let (end, _other) = UnixStream::pair().unwrap();
        let mut count = 0;
        while lots.send(0, &[client(count)], &[end.as_raw_fd()]).is_ok() {
            count += 1;
        }
        let full = lots.send(0, &[client(count)], &[end.as_raw_fd()]);
        assert_eq!(full, Err(Refused::Full));
        assert_eq!(indices(&lots, 0), (0..count).collect::<Vec<u32>>());
        let many = vec![client(7); DESCRIPTORS_MAX];
        let numbers = vec![end.as_raw_fd(); DESCRIPTORS_MAX];
        for _ in 0..160 {
            lots.send(1, &many, &numbers).unwrap();
        }
        assert_eq!(indices(&lots, 1).len(), 160 * DESCRIPTORS_MAX);
        lots.empty(0);
        lots.empty(1);
    }
}
