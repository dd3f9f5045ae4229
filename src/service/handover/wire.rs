//! What goes over a handover socket: datagrams of one client or several, at most [`CLIENTS_MAX`].
//!
//! Their bytes are [`MESSAGE`]; with them come two descriptors for each client (`SCM_RIGHTS`, unix(7)),
//! in the order in which the clients came:
//!
//! 1. the client's socket, a connected stream socket;
//! 2. the token. The receiver neither writes to it nor reads from it, and closes it when it is done
//!    with the client, after the socket.
//!
//! A receiver that is done shuts down the writing side of the socket before it closes it, or sets
//! `SO_LINGER` to zero seconds to have the client see a reset: the sender has the socket too, and a
//! socket that is neither may be handed over again if nobody has received or sent a byte on it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::service::rights::{self, Carried};

/// The bytes of every datagram: what it is, and the version of what these pages say.
pub const MESSAGE: &[u8] = b"clients/1";

/// The most clients of one datagram. Those who came at the same time go together, as a thread that is
/// woken to accept finds them.
pub const CLIENTS_MAX: usize = 32;

/// How many descriptors come for each.
pub const DESCRIPTORS: usize = 2;

/// Two descriptors of whatever kind.
#[derive(Debug)]
pub struct ClientWithToken {
    /// What should be the client's socket.
    pub client: OwnedFd,
    /// The token.
    pub token: OwnedFd,
}

/// What a datagram brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// What should be clients.
    Clients,
    /// Only some of them: the limit of open descriptors was reached while they were received, and the
    /// kernel has closed those that had no room.
    Truncated,
    /// Something else, in words. What came with it is closed.
    Foreign(&'static str),
}

/// Sends clients, each with its token, without waiting: all of them or none.
///
/// # Errors
///
/// As sendmsg(2): `AGAIN` when no more datagrams can wait, `CONNREFUSED` or `NOTCONN` when nobody
/// has the socket any more, `TOOMANYREFS` when too many descriptors wait to be received.
pub fn send<'fd>(
    queue: impl AsFd,
    clients: impl IntoIterator<Item = (BorrowedFd<'fd>, BorrowedFd<'fd>)>,
) -> Result<(), Errno> {
    let mut descriptors = Vec::with_capacity(DESCRIPTORS * CLIENTS_MAX);
    for (client, token) in clients {
        descriptors.extend([client, token]);
    }
    debug_assert!(descriptors.len() <= DESCRIPTORS * CLIENTS_MAX);
    rights::send(queue, MESSAGE, &descriptors, SendFlags::DONTWAIT).map(drop)
}

/// Receives one datagram, without waiting; what came with it goes behind `pairs`.
///
/// # Errors
///
/// As recvmsg(2): `AGAIN` when none is there.
pub fn receive(
    queue: impl AsFd,
    pairs: &mut impl Extend<ClientWithToken>,
) -> Result<Datagram, Errno> {
    let mut bytes = [0; MESSAGE.len() + 1];
    const MOST: usize = DESCRIPTORS * CLIENTS_MAX;
    let Carried {
        bytes: length,
        descriptors,
        is_truncated,
    } = rights::receive(queue, &mut bytes, RecvFlags::DONTWAIT)?;
    let foreign = match descriptors.len() {
        count if count > MOST => Some("it has more than 64 descriptors"),
        0 if !is_truncated => Some("it has no descriptors"),
        count if count % DESCRIPTORS != 0 && !is_truncated => {
            Some("it has a descriptor without a token")
        }
        _ if bytes[..length] != *MESSAGE => Some("it does not say clients/1"),
        _ => None,
    };
    if let Some(why) = foreign {
        return Ok(Datagram::Foreign(why));
    }
    let mut descriptors = descriptors.into_iter();
    pairs.extend(std::iter::from_fn(|| {
        let (client, token) = (descriptors.next()?, descriptors.next()?);
        Some(ClientWithToken { client, token })
    }));
    Ok(match is_truncated {
        true => Datagram::Truncated,
        false => Datagram::Clients,
    })
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
        send(&ours, [(client.as_fd(), token.as_fd())]).unwrap();
        drop((client, token));
        let mut pairs = Vec::new();
        assert_eq!(receive(&theirs, &mut pairs), Ok(Datagram::Clients));
        let ClientWithToken { client, token } = pairs.pop().unwrap();
        UnixStream::from(client).write_all(b"served").unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "served");
        drop(token);
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        assert_eq!(receive(&theirs, &mut pairs), Err(Errno::AGAIN));
    }

    #[test]
    fn as_many_as_there_may_be_arrive_in_their_order() {
        let (ours, theirs) = queue();
        let pipes: Vec<_> = (0..CLIENTS_MAX).map(|_| std::io::pipe().unwrap()).collect();
        let clients = pipes
            .iter()
            .map(|(end, token)| (end.as_fd(), token.as_fd()));
        send(&ours, clients).unwrap();
        let mut pairs = Vec::new();
        assert_eq!(receive(&theirs, &mut pairs), Ok(Datagram::Clients));
        assert_eq!(pairs.len(), CLIENTS_MAX);
        for (number, (pair, (end, _))) in (0_u8..).zip(pairs.into_iter().zip(pipes)) {
            std::fs::File::from(pair.token)
                .write_all(&[number])
                .unwrap();
            let mut said = [0];
            let mut end = end;
            end.read_exact(&mut said).unwrap();
            assert_eq!(said, [number]);
        }
    }

    fn send_raw(queue: &UnixDatagram, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        rights::send(queue, bytes, descriptors, SendFlags::empty()).unwrap();
    }

    #[test]
    fn anything_else_is_told_in_words_and_leaves_no_descriptor_behind() {
        let (ours, theirs) = queue();
        let (end, token) = std::io::pipe().unwrap();
        let long = [b'x'; 5000];
        for (bytes, count, word) in [
            (MESSAGE, 0, "no descriptors"),
            (MESSAGE, 1, "without a token"),
            (MESSAGE, 3, "without a token"),
            (MESSAGE, DESCRIPTORS * CLIENTS_MAX + 2, "more than 64"),
            (b"clients/2", 2, "does not say"),
            (b"clients/1 ", 2, "does not say"),
            (b"", 2, "does not say"),
            (&long, 2, "does not say"),
        ] {
            send_raw(&ours, bytes, &vec![token.as_fd(); count]);
            let mut pairs = Vec::new();
            match receive(&theirs, &mut pairs).unwrap() {
                Datagram::Foreign(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
            assert!(pairs.is_empty());
        }
        drop(token);
        let mut end = end;
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "all copies are closed");
    }
}
