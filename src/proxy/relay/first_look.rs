//! A look at what a client without an upstream has said.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::memory;
use crate::proxy::keep::BUFFER;
use crate::proxy::requests::{Conversation, Look, More, RequestKind};

/// Whether a part of a request waits in a client's socket, of which the rest may still come. What is looked at stays in
/// the socket. `has_ended`: the client says nothing more.
///
/// # Errors
///
/// When the connection is broken.
pub fn is_unfinished(
    client: BorrowedFd<'_>,
    kind: RequestKind,
    has_ended: bool,
) -> Result<bool, Errno> {
    let Some(mut buffer) = memory::take() else {
        return Ok(false);
    };
    let found = recv(client, &mut *buffer, RecvFlags::PEEK);
    let result = match found {
        Ok((found, _)) => {
            let more = match has_ended || found == BUFFER {
                true => More::No,
                false => More::MayCome,
            };
            let look = Conversation::new(kind).look_at_request(&buffer[..found], more);
            Ok(found > 0 && look == Look::NeedsMore)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    };
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
        let is_unfinished = |has_ended| is_unfinished(ours.as_fd(), RequestKind::Http, has_ended);
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
    fn what_is_no_request_is_not_waited_for() {
        let (mut client, ours) = pair();
        client.write_all(b"\x16\x03\x01").unwrap();
        let look = is_unfinished(ours.as_fd(), RequestKind::Http, false);
        assert_eq!(look, Ok(false));
    }
}
