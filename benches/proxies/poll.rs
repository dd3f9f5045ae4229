//! epoll, level-triggered, and sockets that never block: what both ends of the load are made of.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Watches sockets.
pub struct Poll(OwnedFd);

/// What a watched socket is ready for.
pub type Readiness = epoll::EventFlags;

impl Poll {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches a socket until it is closed.
    pub fn add(&self, socket: impl AsFd, token: usize, readiness: Readiness) -> io::Result<()> {
        let token = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.0, socket, token, readiness)?)
    }

    /// Watches a socket for something else from now on.
    pub fn change(&self, socket: impl AsFd, token: usize, readiness: Readiness) -> io::Result<()> {
        let token = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.0, socket, token, readiness)?)
    }

    /// Watches a socket no more.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, socket)?)
    }

    /// Waits until a socket is ready. None is after `longest`.
    pub fn wait(&self, ready: &mut Ready, longest: Option<Duration>) -> io::Result<()> {
        let longest = longest.map(timespec);
        ready.0.clear();
        match epoll::wait(&self.0, spare_capacity(&mut ready.0), longest.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same with a timeout to the nanosecond: epoll_wait(2) has one in milliseconds.
    pub fn wait_precisely(&self, ready: &mut Ready, longest: Duration) -> io::Result<()> {
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut watched, Some(&timespec(longest))) {
            Ok(_) | Err(Errno::INTR) => self.wait(ready, Some(Duration::ZERO)),
            Err(error) => Err(error.into()),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// The timers of this thread end when they are due, until this is dropped; else the kernel may let them wait
/// for 50 µs. Programs that are started meanwhile would have such timers, too.
pub struct PreciseTimers(());

impl PreciseTimers {
    /// From now on.
    pub fn enter() -> Self {
        set_timer_slack(1);
        Self(())
    }
}

impl Drop for PreciseTimers {
    fn drop(&mut self) {
        set_timer_slack(0); // as it was at the start
    }
}

fn set_timer_slack(nanoseconds: libc::c_ulong) {
    // SAFETY: the kernel reads two integers, and changes nothing but the timers of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}

/// The sockets that are ready.
pub struct Ready(Vec<epoll::Event>);

impl Ready {
    /// Room for as many as are told at once.
    pub fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their tokens.
    pub fn tokens(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|event| event.data.u64() as usize)
    }
}

/// Receives what is there. `None`: nothing yet. `Some(0)`: the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((count, _)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends as much as goes without waiting.
pub fn transmit(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Sends a message that is so short that it always goes as a whole.
pub fn transmit_all(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    match transmit(socket, bytes)? == bytes.len() {
        true => Ok(()),
        false => Err(io::Error::other(
            "a short message does not fit in an empty socket",
        )),
    }
}
