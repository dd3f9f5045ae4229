//! Pipes for splicing.
//!
//! A pipe belongs to a connection only while bytes are in it. Splicing needs one because the kernel
//! moves pages from a socket to a socket only through a pipe, splice(2).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

use super::memory::keep;
use super::switch::REACH_MAX;
use crate::proxy::keep;
use crate::proxy::keep::account::Place;

/// The capacities that a pipe should have, in bytes: what the switch reaches for, or less. It is room, not
/// memory.
const CAPACITIES: [usize; 2] = [REACH_MAX, REACH_MAX / 4];

/// With a smaller capacity, splicing costs more than it saves. An unprivileged user whose pipes have
/// more than `fs.pipe-user-pages-soft` pages together gets pipes of two pages, pipe(7). The user number may be
/// that of services in other containers, too.
pub(super) const CAPACITY_MIN: usize = 64 * 1024;

/// Empty pipes that a thread keeps for the next connection.
const SPARE_MAX: usize = 4;

/// After the kernel has refused a pipe, the number of requests that are refused without asking it.
const REFUSALS: usize = 256;

/// The number of pipes that all threads together may still make.
static LEFT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

/// Allows the process `count` pipes, of two descriptors each. Connections whose receiver is slow hold on to
/// theirs; when none is left, the bytes of others are copied.
pub fn allow_pipes(count: usize) {
    LEFT.store(count, Relaxed);
}

#[derive(Default)]
struct Pipes {
    spare: Vec<Pipe>,
    refusals: usize,
}

/// A pipe. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    capacity: usize,
    /// None if the process before has left the pipe, and none is left.
    _allowance: Option<Allowance>,
}

#[derive(Debug)]
enum Ends {
    Own(OwnedFd, OwnedFd),
    /// The contents outlive the process.
    Kept(keep::ParkedPipe),
}

/// One of the pipes of [`allow_pipes`].
#[derive(Debug)]
struct Allowance;

impl Allowance {
    fn take() -> Option<Self> {
        let one_less = |left: usize| left.checked_sub(1);
        let taken = LEFT.fetch_update(Relaxed, Relaxed, one_less);
        // Lazily: dropping one gives it back.
        taken.is_ok().then(|| Self)
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        LEFT.fetch_add(1, Relaxed);
    }
}

impl Pipe {
    /// Takes an empty pipe of at least this capacity; `None` if no more are allowed, or the kernel has none
    /// that is large enough.
    pub(super) fn take(capacity_min: usize) -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| pipes.take(capacity_min))
    }

    /// Gives back a pipe, which must be empty.
    pub(super) fn give_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.spare.len() < SPARE_MAX {
                pipes.spare.push(self);
            }
        });
    }

    /// A pipe with bytes in it, from the process before.
    pub(super) fn restored(pipe: keep::ParkedPipe) -> Self {
        Self {
            capacity: fcntl_getpipe_size(&pipe.write).unwrap_or(CAPACITY_MIN),
            ends: Ends::Kept(pipe),
            _allowance: Allowance::take(),
        }
    }

    /// The place of bytes in the pipe, for [`keep::Flow`].
    pub(super) fn place(&self) -> Place {
        match &self.ends {
            Ends::Own(..) => Place::None,
            Ends::Kept(pipe) => Place::Pipe(pipe.number),
        }
    }

    fn read_end(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Own(read, _) => read.as_fd(),
            Ends::Kept(pipe) => pipe.read.as_fd(),
        }
    }

    fn write_end(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Own(_, write) => write.as_fd(),
            Ends::Kept(pipe) => pipe.write.as_fd(),
        }
    }

    /// Writes to the pipe, as write(2).
    pub(super) fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(self.write_end(), bytes)
    }

    /// Splices at most `reach` bytes from a socket into the pipe, as splice(2): fails with `AGAIN` if the socket
    /// has nothing, and with `INVAL` if it cannot be spliced.
    pub(super) fn fill(&self, source: BorrowedFd<'_>, reach: usize) -> Result<usize, Errno> {
        let length = reach.min(self.capacity);
        splice(source, None, self.write_end(), None, length, FLAGS)
    }

    /// Splices `bytes` from the pipe into a socket, as splice(2): fails with `AGAIN` if the socket takes nothing.
    /// If the socket is closed this raises SIGPIPE, which Rust's runtime has the process ignore.
    pub(super) fn drain(&self, sink: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
        splice(self.read_end(), None, sink, None, bytes, FLAGS)
    }
}

/// No call waits for the pipe; the socket is non-blocking by itself.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK;

impl Pipes {
    fn take(&mut self, capacity_min: usize) -> Option<Pipe> {
        let is_enough = |pipe: &Pipe| pipe.capacity >= capacity_min;
        match self.spare.iter().rposition(is_enough) {
            Some(index) => Some(self.spare.swap_remove(index)),
            None => self.make(capacity_min),
        }
    }

    fn make(&mut self, capacity_min: usize) -> Option<Pipe> {
        let allowance = Allowance::take()?;
        let is_any = capacity_min < CAPACITY_MIN;
        if self.refusals > 0 && !is_any {
            self.refusals -= 1;
            return None;
        }
        let pipe = make(allowance).ok()?;
        if pipe.capacity < capacity_min {
            self.refusals = REFUSALS;
            return None;
        }
        Some(pipe)
    }
}

fn make(allowance: Allowance) -> Result<Pipe, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // They may be refused for lack of privileges; then the default may be large enough.
    let mut sizes = CAPACITIES.iter();
    let capacity = match sizes.find_map(|size| fcntl_setpipe_size(&write, *size).ok()) {
        Some(capacity) => capacity,
        None => fcntl_getpipe_size(&write)?,
    };
    let ends = match keep() {
        // What is to be kept is not spliced through a pipe that has no room in the table.
        Some(keep) => Ends::Kept(keep.pipe(read, write).ok_or(Errno::NOSPC)?),
        None => Ends::Own(read, write),
    };
    Ok(Pipe {
        ends,
        capacity,
        _allowance: Some(allowance),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pipe_is_only_for_a_direction_to_which_any_is_of_use() {
        allow_pipes(8);
        let small = Pipe::take(1).unwrap();
        let Ends::Own(_, write) = &small.ends else {
            unreachable!("nothing is kept here");
        };
        let capacity = fcntl_setpipe_size(write, 1).unwrap();
        assert!(capacity < CAPACITY_MIN);
        Pipe { capacity, ..small }.give_back();

        let large = Pipe::take(CAPACITY_MIN).unwrap();
        assert!(large.capacity >= CAPACITY_MIN);
        assert_eq!(Pipe::take(1).unwrap().capacity, capacity);
    }

    #[test]
    fn what_the_kernel_refuses_to_others_is_not_refused_to_a_direction_to_which_any_is_of_use() {
        let mut pipes = Pipes {
            refusals: 1,
            ..Pipes::default()
        };
        allow_pipes(8);
        assert!(pipes.take(CAPACITY_MIN).is_none());
        pipes.refusals = 1;
        assert!(pipes.take(1).is_some());
    }
}
