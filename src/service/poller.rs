//! Waiting for many descriptors at once: epoll(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// What is told of a descriptor.
pub type Flags = epoll::EventFlags;

/// Events that are heard of at once.
const EVENTS: usize = 256;

/// An epoll(7) descriptor. What is watched may be changed from any thread.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// What [`Poller::wait`] has found; made once, for all waits.
pub struct Events(Vec<epoll::Event>);

impl Events {
    /// Room for them.
    pub fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token and the flags of this one.
    pub fn get(&self, index: usize) -> Option<(u64, Flags)> {
        let event = self.0.get(index)?;
        Some((event.data.u64(), event.flags))
    }
}

impl AsFd for Poller {
    /// It becomes readable when there is something to be told.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Poller {
    /// One that watches nothing yet.
    ///
    /// # Errors
    ///
    /// When no descriptor or memory is left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Watches a descriptor; what happens to it is told with this token.
    ///
    /// # Errors
    ///
    /// When no memory or watches are left (`/proc/sys/fs/epoll/max_user_watches`).
    pub fn add(&self, descriptor: impl AsFd, token: u64, flags: Flags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, descriptor, data, flags)?)
    }

    /// Does not watch it any more. It need not be called before the only descriptor of a file is
    /// closed, epoll(7).
    pub fn remove(&self, descriptor: impl AsFd) {
        // It fails only for what is not watched.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits until something happens, at most for so long; `None`: for ever. With a signal it may
    /// return early.
    ///
    /// # Errors
    ///
    /// None that would go away.
    pub fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
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
    fn it_tells_of_what_it_watches_and_of_nothing_else() {
        let poller = Poller::new().unwrap();
        let mut events = Events::new();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.add(&read, 7, Flags::IN).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        write.write_all(b"x").unwrap();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.get(0), Some((7, Flags::IN)));
        assert_eq!(events.get(1), None);
        poller.remove(&read);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.len(), 0);
    }
}
