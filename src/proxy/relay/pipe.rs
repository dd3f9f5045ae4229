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

/// What a pipe should hold, in bytes: what the switch reaches for, or some less. It is room, not
/// memory.
const CAPACITIES: [usize; 2] = [REACH_MAX, REACH_MAX / 4];

/// With less than that, splicing costs more than it saves. An unprivileged user whose pipes have
/// more than `fs.pipe-user-pages-soft` pages together gets pipes of two pages, pipe(7).
const CAPACITY_MIN: usize = 64 * 1024;

/// Empty pipes that a thread keeps for the next connection.
const SPARE_MAX: usize = 4;

/// While no pipe can be had, so many requests are refused before the kernel is asked again.
const REFUSALS: usize = 256;

/// Pipes that may still be made, by all threads together.
static LEFT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

/// Allows the process so many pipes, of two descriptors each. Connections whose receiver is slow hold
/// on to theirs; those that come when none is left are copied.
pub fn allow_pipes(count: usize) {
    LEFT.store(count, Relaxed);
}

#[derive(Default)]
struct Pipes {
    spare: Vec<Pipe>,
    refusals: usize,
}

/// A pipe. When it is dropped, it is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    capacity: usize,
    /// None if it came from the process before, which had it allowed.
    _counted: Option<Counted>,
}

#[derive(Debug)]
enum Ends {
    Own(OwnedFd, OwnedFd),
    /// What is in there outlives the process.
    Kept(keep::ParkedPipe),
}

/// One of those that were allowed.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let one_less = |left: usize| left.checked_sub(1);
        let taken = LEFT.fetch_update(Relaxed, Relaxed, one_less);
        taken.is_ok().then(|| Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LEFT.fetch_add(1, Relaxed);
    }
}

impl Pipe {
    /// An empty one; `None` if no more are allowed, or the kernel has none that is large enough.
    pub(super) fn take() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| pipes.spare.pop().or_else(|| pipes.make()))
    }

    /// Gives it back. It must be empty.
    pub(super) fn give_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.spare.len() < SPARE_MAX {
                pipes.spare.push(self);
            }
        });
    }

    /// One with bytes in it that the process before has left.
    pub(super) fn restored(pipe: keep::ParkedPipe) -> Self {
        Self {
            capacity: fcntl_getpipe_size(pipe.write_end()).unwrap_or(CAPACITY_MIN),
            ends: Ends::Kept(pipe),
            _counted: Counted::new(),
        }
    }

    /// Where bytes in it are, for [`keep::Flow`].
    pub(super) fn place(&self) -> Place {
        match &self.ends {
            Ends::Own(..) => Place::Nowhere,
            Ends::Kept(pipe) => Place::Pipe(pipe.number()),
        }
    }

    fn read_end(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Own(read, _) => read.as_fd(),
            Ends::Kept(pipe) => pipe.read_end(),
        }
    }

    fn write_end(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Own(_, write) => write.as_fd(),
            Ends::Kept(pipe) => pipe.write_end(),
        }
    }

    /// Writes to the pipe.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    pub(super) fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(self.write_end(), bytes)
    }

    /// Splices at most `reach` bytes from a socket into the pipe.
    ///
    /// # Errors
    ///
    /// Those of splice(2): `AGAIN` when the socket has nothing, `INVAL` when it cannot be spliced.
    pub(super) fn fill(&self, source: BorrowedFd<'_>, reach: usize) -> Result<usize, Errno> {
        splice(
            source,
            None,
            self.write_end(),
            None,
            reach.min(self.capacity),
            HOW,
        )
    }

    /// Splices `bytes` from the pipe into a socket. If the socket is closed this raises SIGPIPE, which
    /// Rust's runtime has the process ignore.
    ///
    /// # Errors
    ///
    /// Those of splice(2): `AGAIN` when the socket takes nothing.
    pub(super) fn drain(&self, sink: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
        splice(self.read_end(), None, sink, None, bytes, HOW)
    }
}

/// Neither end of the pipe is waited for; whether the socket is, its own flag says.
const HOW: SpliceFlags = SpliceFlags::NONBLOCK;

impl Pipes {
    fn make(&mut self) -> Option<Pipe> {
        let counted = Counted::new()?;
        if self.refusals > 0 {
            self.refusals -= 1;
            return None;
        }
        let pipe = make(counted).ok();
        let pipe = pipe.filter(|pipe| pipe.capacity >= CAPACITY_MIN);
        if pipe.is_none() {
            self.refusals = REFUSALS;
        }
        pipe
    }
}

fn make(counted: Counted) -> Result<Pipe, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // They may be refused for lack of privileges; what it holds then tells whether it is of use.
    let mut sizes = CAPACITIES.iter();
    let capacity = match sizes.find_map(|size| fcntl_setpipe_size(&write, *size).ok()) {
        Some(capacity) => capacity,
        None => fcntl_getpipe_size(&write)?,
    };
    let ends = match keep() {
        // Without room for it in the table nothing may be spliced that is to be kept.
        Some(keep) => Ends::Kept(keep.pipe(read, write).ok_or(Errno::NOSPC)?),
        None => Ends::Own(read, write),
    };
    Ok(Pipe {
        ends,
        capacity,
        _counted: Some(counted),
    })
}
