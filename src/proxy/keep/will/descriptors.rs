//! What the will asks the kernel about descriptors, without allocating anything.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{SocketType, getpeername, sockopt};
use rustix::process::{Resource, getrlimit};

use crate::proxy::keep::table::layout::DESCRIPTORS;

/// Whether it is a connected stream socket.
pub fn is_connected_stream(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::STREAM) && getpeername(socket).is_ok()
}

/// One more than the greatest descriptor that there may be, from `FDSize` in /proc, or else from the
/// limit: there may be no /proc, or no descriptor left to open it.
pub(super) fn table_size() -> RawFd {
    let mut text = [0_u8; 1024];
    let file = open(c"/proc/self/status", OFlags::RDONLY, Mode::empty());
    let count = file.and_then(|file| rustix::io::read(file, &mut text));
    let text = text.get(..count.unwrap_or(0)).unwrap_or_default();
    number_behind_fdsize(text).unwrap_or_else(|| {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| limit.try_into().ok());
        limit.unwrap_or(DESCRIPTORS as RawFd)
    })
}

fn number_behind_fdsize(text: &[u8]) -> Option<RawFd> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let number = lines.find_map(|line| line.strip_prefix(b"FDSize:"))?;
    let number: RawFd = std::str::from_utf8(number).ok()?.trim().parse().ok()?;
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_descriptor_table_is_found() {
        let text = b"Name:\tx\nFDSize:\t65536\nGroups:\t0";
        assert_eq!(number_behind_fdsize(text), Some(65_536));
        assert_eq!(number_behind_fdsize(b"Name:\tx\n"), None);
        assert_eq!(number_behind_fdsize(b"FDSize:\tx"), None);
        assert!(table_size() >= 64);
    }
}
