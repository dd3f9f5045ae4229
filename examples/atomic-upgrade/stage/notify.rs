//! The notification socket, sd_notify(3), and the descriptor store.
//!
//! A program stores descriptors with `FDSTORE=1`. They stay open here when its process ends, and its
//! next process gets them together with the listening sockets.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The name of a descriptor without `FDNAME=`.
const NAMELESS: &str = "stored";

/// A message from a program.
pub struct Notice {
    text: String,
    descriptors: Vec<OwnedFd>,
}

/// Waits for the next message.
pub async fn receive(socket: &UnixDatagram) -> io::Result<Notice> {
    let receive = || {
        let mut bytes = [0; 4096];
        // As many as one message can carry.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok(Notice {
            descriptors: rights.flatten().collect(),
            text: String::from_utf8_lossy(&bytes[..message.bytes]).into_owned(),
        })
    };
    socket.async_io(Interest::READABLE, receive).await
}

impl Notice {
    /// Whether it has this line.
    pub fn says(&self, line: &str) -> bool {
        self.text.lines().any(|own| own == line)
    }

    fn value(&self, key: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The stored descriptors of a program, with their names.
pub struct Store {
    most: usize,
    kept: Vec<(String, OwnedFd)>,
}

impl Store {
    /// An empty store for at most `most` descriptors, `FileDescriptorStoreMax=`.
    pub fn of(most: usize) -> Self {
        let kept = Vec::new();
        Self { most, kept }
    }

    /// Stores or removes descriptors. Others, and those without room, are closed: also that of
    /// `BARRIER=1`, which is the answer that its sender waits for.
    pub fn hear(&mut self, notice: Notice) {
        let name = notice.value("FDNAME").unwrap_or(NAMELESS).to_owned();
        if notice.says("FDSTORE=1") {
            let room = self.most.saturating_sub(self.kept.len());
            let stored = notice.descriptors.into_iter().take(room);
            let stored = stored.map(|descriptor| (name.clone(), descriptor));
            self.kept.extend(stored);
        } else if notice.says("FDSTOREREMOVE=1") {
            self.kept.retain(|kept| kept.0 != name);
        }
    }

    /// Closes all descriptors.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// The descriptors with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        let kept = self.kept.iter();
        kept.map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A notice with a descriptor, and the other end of that.
    fn notice(text: &str) -> (Notice, UnixStream) {
        let (descriptor, mut other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(other.read(&mut [0]).is_err());
        let notice = Notice {
            text: text.to_owned(),
            descriptors: vec![descriptor.into()],
        };
        (notice, other)
    }

    fn is_closed(mut other: &UnixStream) -> bool {
        matches!(other.read(&mut [0]), Ok(0))
    }

    fn names(store: &Store) -> Vec<&str> {
        store.iter().map(|kept| kept.0).collect()
    }

    #[test]
    fn a_stored_descriptor_stays_open_until_it_is_removed_by_its_name() {
        let mut store = Store::of(16);
        let (one, its_end) = notice("FDSTORE=1\nFDNAME=one\nFDPOLL=0");
        store.hear(one);
        store.hear(notice("FDSTORE=1").0);
        assert_eq!(names(&store), ["one", "stored"]);
        assert!(!is_closed(&its_end));
        store.hear(notice("FDSTOREREMOVE=1\nFDNAME=one").0);
        assert_eq!(names(&store), ["stored"]);
        assert!(is_closed(&its_end));
    }

    #[test]
    fn descriptors_of_a_barrier_and_without_room_are_closed() {
        let mut store = Store::of(1);
        store.hear(notice("FDSTORE=1\nFDNAME=one").0);
        for text in ["BARRIER=1", "FDSTORE=1\nFDNAME=two", "READY=1"] {
            let (refused, its_end) = notice(text);
            store.hear(refused);
            assert!(is_closed(&its_end), "{text}");
        }
        assert_eq!(names(&store), ["one"]);
    }
}
