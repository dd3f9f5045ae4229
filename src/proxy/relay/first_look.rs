//! A look at what a client without an upstream has said.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::memory;
use crate::proxy::requests::{Conversation, LOOK_MAX, Look, More, RequestKind};

/// Whether a client has sent a part of a request of which the rest may still come: `said`, and behind it what waits in
/// its socket and stays there. `has_ended`: the client says nothing more.
///
/// # Errors
///
/// When the connection is broken.
pub fn is_unfinished(
    said: &[u8],
    client: BorrowedFd<'_>,
    kind: RequestKind,
    has_ended: bool,
) -> Result<bool, Errno> {
    let Some(mut buffer) = memory::take() else {
        return Ok(false);
    };
    let said = &said[..said.len().min(LOOK_MAX)];
    buffer[..said.len()].copy_from_slice(said);
    let place = &mut buffer[said.len()..LOOK_MAX];
    let found = match place.is_empty() {
        true => Ok(0),
        false => match recv(client, &mut *place, RecvFlags::PEEK) {
            Ok((found, _)) => Ok(found),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        },
    };
    let result = found.map(|found| {
        let bytes = &buffer[..said.len() + found];
        let more = match has_ended || bytes.len() == LOOK_MAX {
            true => More::No,
            false => More::MayCome,
        };
        let look = Conversation::new(kind).look_at_request(bytes, more);
        !bytes.is_empty() && look == Look::NeedsMore
    });
    memory::give_back(buffer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::loopback::pair;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_part_of_a_head_is_unfinished_until_it_is_whole_or_none() {
        let (mut client, ours) = pair();
        ours.set_nonblocking(true).unwrap();
        let is_unfinished =
            |has_ended| is_unfinished(b"", ours.as_fd(), RequestKind::Http, has_ended);
        assert_eq!(is_unfinished(false), Ok(false), "nothing");
        for part in ["G", "ET / HTTP/1.1\r\n", "\r"] {
            client.write_all(part.as_bytes()).unwrap();
            assert_eq!(is_unfinished(false), Ok(true), "{part:?}");
        }
        assert_eq!(is_unfinished(true), Ok(false));
        client.write_all(b"\n").unwrap();
        assert_eq!(is_unfinished(false), Ok(false));
    }

    #[test]
    fn what_was_received_before_is_a_part_of_it() {
        let (mut client, ours) = pair();
        ours.set_nonblocking(true).unwrap();
        let is_unfinished =
            |said: &[u8]| is_unfinished(said, ours.as_fd(), RequestKind::Http, false);
        let (part, rest) = (b"GET / HTTP/1.1\r", b"\n\r\n");
        assert_eq!(is_unfinished(part), Ok(true));
        client.write_all(rest).unwrap();
        assert_eq!(is_unfinished(part), Ok(false));
        assert_eq!(is_unfinished(&[b'a'; LOOK_MAX]), Ok(false), "no request");
    }

    #[test]
    fn what_is_no_request_is_not_waited_for() {
        let (mut client, ours) = pair();
        client.write_all(b"\x16\x03\x01").unwrap();
        let look = is_unfinished(b"", ours.as_fd(), RequestKind::Http, false);
        assert_eq!(look, Ok(false));
    }
}
