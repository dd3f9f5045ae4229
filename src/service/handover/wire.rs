//! The datagrams of a handover socket: one client or several, at most [`CLIENTS_MAX`].
//!
//! The bytes are [`MESSAGE`]. With them come two descriptors (`SCM_RIGHTS`, unix(7)) for each client, in turn:
//!
//! 1. the client's socket, a connected stream socket;
//! 2. the token. The receiver neither writes nor reads it, and closes it when it is done, after the socket.
//!
//! Before it closes the socket, the receiver shuts down its writing side, or sets `SO_LINGER` to zero seconds for a
//! reset: the sender has the socket too. A client whose socket was closed without either may be handed over again,
//! if no byte was received or sent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::service::rights::{self, Carried};

/// The bytes of every datagram: its kind, and the version of this format.
pub const MESSAGE: &[u8] = b"clients/1";

/// The most clients of one datagram: those that a thread finds when it is woken to accept go together.
pub const CLIENTS_MAX: usize = 32;

/// The number of descriptors for each client.
pub const DESCRIPTORS: usize = 2;

/// The descriptors of a client, unchecked.
#[derive(Debug)]
pub struct ClientWithToken {
    /// What should be the client's socket.
    pub client: OwnedFd,
    /// The token.
    pub token: OwnedFd,
}

/// What a datagram has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// Clients, if their sockets are what they should be.
    Clients,
    /// Only some of them: the kernel has closed those above the limit of open descriptors.
    Truncated,
    /// Something else, in words. Its descriptors are closed.
    Foreign(&'static str),
}

/// Sends clients, each with its token, without waiting: all of them or none.
///
/// # Errors
///
/// As sendmsg(2): `AGAIN` when there is no room, `CONNREFUSED` or `NOTCONN` when no process has the socket any
/// more, `TOOMANYREFS` when too many descriptors are in flight.
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

/// Receives one datagram, without waiting, and adds its clients to `clients`.
///
/// # Errors
///
/// As recvmsg(2): `AGAIN` when none is there.
pub fn receive(
    queue: impl AsFd,
    clients: &mut impl Extend<ClientWithToken>,
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
    clients.extend(std::iter::from_fn(|| {
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

    #[test]
    fn a_client_and_its_token_arrive_as_what_they_were() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (client, mut peer) = UnixStream::pair().unwrap();
        let (mut end, token) = std::io::pipe().unwrap();
        send(&ours, [(client.as_fd(), token.as_fd())]).unwrap();
        drop((client, token));
        let mut clients = Vec::new();
        assert_eq!(receive(&theirs, &mut clients), Ok(Datagram::Clients));
        let ClientWithToken { client, token } = clients.pop().unwrap();
        UnixStream::from(client).write_all(b"served").unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "served");
        drop(token);
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        assert_eq!(receive(&theirs, &mut clients), Err(Errno::AGAIN));
    }

    #[test]
    fn as_many_as_there_may_be_arrive_in_their_order() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let pipes: Vec<_> = (0..CLIENTS_MAX).map(|_| std::io::pipe().unwrap()).collect();
        let sent = pipes
            .iter()
            .map(|(end, token)| (end.as_fd(), token.as_fd()));
        send(&ours, sent).unwrap();
        let mut clients = Vec::new();
        assert_eq!(receive(&theirs, &mut clients), Ok(Datagram::Clients));
        assert_eq!(clients.len(), CLIENTS_MAX);
        for (number, (client, (mut end, _))) in (0_u8..).zip(clients.into_iter().zip(pipes)) {
            let mut token = std::fs::File::from(client.token);
            token.write_all(&[number]).unwrap();
            let mut byte = [0];
            end.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number]);
        }
    }

    #[test]
    fn any_other_message_is_refused_with_a_reason_and_leaves_no_descriptor_open() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (mut end, token) = std::io::pipe().unwrap();
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
            let descriptors = vec![token.as_fd(); count];
            rights::send(&ours, bytes, &descriptors, SendFlags::empty()).unwrap();
            let mut clients = Vec::new();
            match receive(&theirs, &mut clients).unwrap() {
                Datagram::Foreign(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
            assert!(clients.is_empty());
        }
        drop(token);
        assert_eq!(end.read(&mut [0]).unwrap(), 0, "all copies are closed");
    }
}
