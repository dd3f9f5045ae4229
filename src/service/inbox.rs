//! Messages for a thread that waits in a [`Poller`](super::poller::Poller).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

use super::mutex::lock;

/// Messages from other threads. Its descriptor is readable while there are some.
#[derive(Debug)]
pub struct Inbox<T> {
    messages: Mutex<Vec<T>>,
    event: OwnedFd,
}

impl<T> Inbox<T> {
    /// Empty. Fails when descriptors have run out.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            messages: Mutex::new(Vec::new()),
            event,
        })
    }

    /// Adds a message. Only the first one costs a system call, which wakes the thread.
    pub fn post(&self, message: T) {
        let mut messages = lock(&self.messages);
        messages.push(message);
        if messages.len() == 1 {
            // It fails only at 2^64 - 1.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    pub fn take(&self) -> Vec<T> {
        let mut messages = lock(&self.messages);
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        std::mem::take(&mut *messages)
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::poller::{Events, Flags, Poller};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_thread_that_waits_is_woken_and_finds_everything_in_order() {
        let inbox = Arc::new(Inbox::new().unwrap());
        let poller = Poller::new().unwrap();
        poller.add(&*inbox, 1, Flags::IN).unwrap();
        let mut events = Events::new();
        let sender = Arc::clone(&inbox);
        let sending = std::thread::spawn(move || (0..3).for_each(|number| sender.post(number)));
        let mut seen = Vec::new();
        while seen.len() < 3 {
            poller.wait(&mut events, None).unwrap();
            seen.extend(inbox.take());
        }
        sending.join().unwrap();
        assert_eq!(seen, [0, 1, 2]);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.len(), 0, "no message is left");
    }
}
