//! Waiting for many descriptors at once: epoll(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use super::kernel::timespec;

/// What is watched for, and what has happened.
pub type Flags = epoll::EventFlags;

/// The most events of one wait.
const EVENTS: usize = 256;

/// An epoll(7) descriptor. Any thread may change what is watched.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// What [`Poller::wait`] has found; made once, for all waits.
pub struct Events(Vec<epoll::Event>);

impl Events {
    /// Empty, with room for the events of one wait.
    pub fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The token and the flags of an event.
    pub fn get(&self, index: usize) -> Option<(u64, Flags)> {
        let event = self.0.get(index)?;
        Some((event.data.u64(), event.flags))
    }
}

impl AsFd for Poller {
    /// Readable when an event waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Poller {
    /// Watches nothing yet. Fails when descriptors or memory have run out.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Watches a descriptor; its events carry `token`. Fails when memory or watches have run out
    /// (`/proc/sys/fs/epoll/max_user_watches`).
    pub fn add(&self, descriptor: impl AsFd, token: u64, flags: Flags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, descriptor, data, flags)?)
    }

    /// Stops watching a descriptor. Closing the only descriptor of a file does that too, epoll(7).
    pub fn remove(&self, descriptor: impl AsFd) {
        // It fails only for a descriptor that is not watched.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits for an event, at most for `limit`, if any. A signal ends it early. Fails only for good.
    pub fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(timespec);
        events.0.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_reports_what_it_watches_and_nothing_else() {
        let poller = Poller::new().unwrap();
        let mut events = Events::new();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.add(&read, 7, Flags::IN).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.len(), 0);
        write.write_all(b"x").unwrap();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.get(0), Some((7, Flags::IN)));
        assert_eq!(events.get(1), None);
        poller.remove(&read);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.len(), 0);
    }
}
