//! What goes over a handover socket: one datagram for each client.
//!
//! Its bytes are [`MESSAGE`]; with them come exactly two descriptors (`SCM_RIGHTS`, unix(7)):
//!
//! 1. the client's socket, a connected stream socket;
//! 2. the token. The receiver neither writes to it nor reads from it, and closes it when it is done
//!    with the client, after the socket.
//!
//! A receiver that is done shuts down the writing side of the socket before it closes it, or sets
//! `SO_LINGER` to zero seconds to have the client see a reset: the sender has the socket too, and a
//! socket that is neither may be handed over again if nobody has received or sent a byte on it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The bytes of every datagram: what it is, and the version of what these pages say.
pub const MESSAGE: &[u8] = b"client/1";

/// How many descriptors come with it.
pub const DESCRIPTORS: usize = 2;

/// What a datagram brought.
#[derive(Debug)]
pub enum Datagram {
    /// Two descriptors of whatever kind.
    Descriptors {
        /// What should be the client's socket.
        client: OwnedFd,
        /// The token.
        token: OwnedFd,
    },
    /// Something else, in words. What came with it is closed.
    Foreign(&'static str),
    /// The limit of open descriptors was reached while it was received: the kernel has closed those
    /// that had no room, and what is left is of no use.
    Truncated,
}

/// Sends a client, without waiting.
///
/// # Errors
///
/// As sendmsg(2): `AGAIN` when no more datagrams can wait, `CONNREFUSED` or `NOTCONN` when nobody
/// has the socket any more, `TOOMANYREFS` when too many descriptors wait to be received.
pub fn send(queue: impl AsFd, client: BorrowedFd<'_>, token: BorrowedFd<'_>) -> Result<(), Errno> {
    let descriptors = [client, token];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space is for so many");
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(queue, &[IoSlice::new(MESSAGE)], &mut ancillary, flags).map(drop)
}

/// Receives one datagram, without waiting.
///
/// # Errors
///
/// As recvmsg(2): `AGAIN` when none is there.
pub fn receive(queue: impl AsFd) -> Result<Datagram, Errno> {
    let mut bytes = [0; MESSAGE.len() + 1];
    // Room for more than there should be: then too many are no lack of descriptors.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS + 1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(queue, &mut pieces, &mut ancillary, flags)?;
    let mut descriptors = Vec::with_capacity(DESCRIPTORS);
    for one in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = one {
            descriptors.extend(fds);
        }
    }
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    let mut descriptors = descriptors.into_iter();
    Ok(
        match (descriptors.next(), descriptors.next(), descriptors.next()) {
            (_, _, Some(_)) => Datagram::Foreign("it has more than two descriptors"),
            (_, None, None) if truncated => Datagram::Truncated,
            (None, ..) => Datagram::Foreign("it has no descriptors"),
            (Some(_), None, None) => Datagram::Foreign("it has one descriptor"),
            (Some(client), Some(token), None) => match bytes[..message.bytes] == *MESSAGE {
                true => Datagram::Descriptors { client, token },
                false => Datagram::Foreign("it does not say client/1"),
            },
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn queue() -> (UnixDatagram, UnixDatagram) {
        UnixDatagram::pair().unwrap()
    }

    #[test]
    fn a_client_and_its_token_arrive_as_what_they_were() {
        let (ours, theirs) = queue();
        let (client, mut peer) = UnixStream::pair().unwrap();
        let (mut end, token) = std::io::pipe().unwrap();
        send(&ours, client.as_fd(), token.as_fd()).unwrap();
        drop((client, token));
        let Datagram::Descriptors { client, token } = receive(&theirs).unwrap() else {
            panic!("it is a client");
        };
        UnixStream::from(client).write_all(b"served").unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "served");
        drop(token);
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        assert!(matches!(receive(&theirs), Err(Errno::AGAIN)));
    }

    fn send_raw(queue: &UnixDatagram, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        sendmsg(
            queue,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::empty(),
        )
        .unwrap();
    }

    #[test]
    fn anything_else_is_told_in_words_and_leaves_no_descriptor_behind() {
        let (ours, theirs) = queue();
        let (end, token) = std::io::pipe().unwrap();
        let long = [b'x'; 5000];
        for (bytes, count, word) in [
            (MESSAGE, 0, "no descriptors"),
            (MESSAGE, 1, "one descriptor"),
            (MESSAGE, 3, "more than two"),
            (MESSAGE, 100, "more than two"),
            (b"client/2", 2, "does not say"),
            (b"client/1 ", 2, "does not say"),
            (b"", 2, "does not say"),
            (&long, 2, "does not say"),
        ] {
            send_raw(&ours, bytes, &vec![token.as_fd(); count]);
            match receive(&theirs).unwrap() {
                Datagram::Foreign(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
        }
        drop(token);
        let mut end = end;
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "all copies are closed");
    }
}
