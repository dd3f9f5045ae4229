//! The lots: where descriptors are parked, so that they stay open whatever happens to the process.
//!
//! A message in an AF_UNIX socket holds the descriptors that were sent with it (unix(7)), and the
//! sockets are in systemd's store. There are two lots. One of them, the *active*, is the one that is
//! parked in. When it is full of what has ended, the other one becomes the active, and what lives moves
//! over to there (`recycle`). So at every moment everybody is in one of them.
//!
//! A lot is one direction of several socketpairs, the other lot the other direction.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use super::budget::Budget;
use super::layout::PAIRS;
use super::message::{BYTES_MAX, DESCRIPTORS_MAX, Entry, entries, read_entries};
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
    /// The queue that has room. The order of the queues is the order of time.
    current: [AtomicUsize; 2],
    /// Descriptors in them.
    held: [AtomicUsize; 2],
    budget: Budget,
    /// How often they were recycled.
    pub(super) round: u64,
    /// So many more are not parked before recycling is tried again.
    pub(super) refusals: usize,
}

/// Why something was not parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The lot is full.
    Full,
    /// There are too many descriptors in the lots, or the user has too many on their way otherwise.
    TooMany,
    /// One of them is not open, or something else.
    Because(Errno),
}

/// What something is parked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is new.
    Parking,
    /// It was in the other lot. For this there is always room for a message more.
    Recycling,
}

/// A message that was looked at.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) entries: Vec<Entry>,
    pub(super) descriptors: std::vec::IntoIter<OwnedFd>,
}

impl Lots {
    pub(super) fn new(pairs: [Pair; PAIRS], budget: Budget) -> Self {
        Self {
            pairs,
            counts: Default::default(),
            current: Default::default(),
            held: Default::default(),
            budget,
            round: 0,
            refusals: 0,
        }
    }

    /// The sockets, for the store.
    pub(super) fn parts(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.iter().flatten().map(AsFd::as_fd)
    }

    /// Parks the descriptors that these entries are about.
    pub(super) fn send(
        &self,
        side: Side,
        entries: &[Entry],
        descriptors: &[RawFd],
        purpose: Purpose,
    ) -> Result<(), Refused> {
        let count = descriptors.len();
        // What others add at the same time may be refused though there is room for one of both.
        self.held[side].fetch_add(count, SeqCst);
        let sent = match self.held() > self.descriptors_max(purpose) {
            true => Err(Refused::TooMany),
            false => self.send_anyway(side, entries, descriptors, purpose),
        };
        if sent.is_err() {
            self.held[side].fetch_sub(count, SeqCst);
        }
        sent
    }

    fn send_anyway(
        &self,
        side: Side,
        entries: &[Entry],
        descriptors: &[RawFd],
        purpose: Purpose,
    ) -> Result<(), Refused> {
        let most = self.messages_max(side, purpose);
        let first = match purpose {
            Purpose::Parking => self.current[side].load(Relaxed),
            // What is in here already is about others.
            Purpose::Recycling => 0,
        };
        for queue in first..PAIRS {
            let count = &self.counts[side][queue];
            // Whatever else is parked in here of the same slot comes later.
            self.current[side].fetch_max(queue, Relaxed);
            if count.load(Relaxed) < most {
                match send(self.pairs[queue][side].as_fd(), entries, descriptors) {
                    Ok(()) => {
                        count.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                    Err(Errno::AGAIN) => {}
                    Err(Errno::TOOMANYREFS) => return Err(Refused::TooMany),
                    Err(errno) => return Err(Refused::Because(errno)),
                }
            }
        }
        Err(Refused::Full)
    }

    fn descriptors_max(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Parking => self.budget.parked,
            Purpose::Recycling => self.budget.parked + self.budget.message.max(DESCRIPTORS_MAX),
        }
    }

    /// As long as something is left in the other lot, there has to be room for it in this one.
    fn messages_max(&self, side: Side, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Parking if self.messages(1 - side) > 0 => MESSAGES_MAX / 4 * 3,
            _ => MESSAGES_MAX,
        }
    }

    /// Descriptors in both lots.
    pub(super) fn held(&self) -> usize {
        self.held.iter().map(|held| held.load(SeqCst)).sum()
    }

    /// Messages in a queue of a lot.
    pub(super) fn messages_in(&self, side: Side, queue: usize) -> usize {
        self.counts[side][queue].load(Relaxed)
    }

    /// Messages in a lot.
    pub(super) fn messages(&self, side: Side) -> usize {
        self.counts[side]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }

    /// Throws away the oldest message of a queue, with which so many descriptors have come. Without room
    /// for them they are closed.
    pub(super) fn throw_away(&self, side: Side, queue: usize, descriptors: usize) {
        let count = &self.counts[side][queue];
        let held = &self.held[side];
        if !throw_away(self.pairs[queue][1 - side].as_fd()) {
            count.store(0, Relaxed);
            return;
        }
        count.fetch_sub(1, Relaxed);
        held.fetch_sub(descriptors.min(held.load(SeqCst)), SeqCst);
        if self.messages(side) == 0 {
            self.current[side].store(0, Relaxed);
            held.store(0, SeqCst);
        }
    }

    /// Tells what the messages of a queue say, from the oldest one on, while `each` wants more of them.
    pub(super) fn look_ahead(
        &self,
        side: Side,
        queue: usize,
        mut each: impl FnMut(Vec<Entry>) -> bool,
    ) -> Result<(), Errno> {
        let socket = self.pairs[queue][1 - side].as_fd();
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

    /// Looks at everything that is in a lot, and leaves it there.
    pub(super) fn look(&self, side: Side, mut each: impl FnMut(Message)) -> Result<(), Errno> {
        let mut held = 0;
        for (queue, (pair, count)) in self.pairs.iter().zip(&self.counts[side]).enumerate() {
            let seen = look(pair[1 - side].as_fd(), &mut |message: Message| {
                held += message.descriptors.len();
                each(message);
            })?;
            count.store(seen, Relaxed);
            if seen > 0 {
                self.current[side].store(queue, Relaxed);
            }
        }
        self.held[side].store(held, SeqCst);
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

/// Throws away everything in a queue.
pub(super) fn empty(socket: BorrowedFd<'_>) {
    while throw_away(socket) {}
}

/// Throws away the oldest message; whether there was one. Without room for descriptors, they are closed.
fn throw_away(socket: BorrowedFd<'_>) -> bool {
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
mod tests;
