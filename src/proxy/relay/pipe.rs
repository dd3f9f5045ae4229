//! Pipes for splicing, a few for each thread.
//!
//! A pipe belongs to a connection only while bytes are in it. Splicing needs one because the kernel
//! moves pages from a socket to a socket only through a pipe, splice(2).

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// What a pipe should hold, in bytes.
const CAPACITY: usize = 256 * 1024;

/// With less than that, splicing costs more than it saves. An unprivileged user whose pipes have
/// more than `fs.pipe-user-pages-soft` pages together gets pipes of two pages, pipe(7).
const CAPACITY_MIN: usize = 64 * 1024;

/// The most pipes that a thread has at a time. Connections whose receiver is slow hold on to theirs;
/// those that come then are copied.
const PIPES_MAX: usize = 64;

/// Empty pipes that are kept for the next connection.
const SPARE_MAX: usize = 4;

/// While no pipe can be had, so many requests are refused before the kernel is asked again.
const REFUSALS: usize = 256;

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

#[derive(Default)]
struct Pipes {
    spare: Vec<Ends>,
    lent: usize,
    refusals: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

/// A pipe that is lent to one direction of a connection. When it is dropped, it is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    lent: Lent,
}

/// Counts a pipe for as long as it is lent.
#[derive(Debug)]
struct Lent;

impl Drop for Lent {
    fn drop(&mut self) {
        // A thread that ends has no pipes to count any more.
        let _ = PIPES.try_with(|pipes| pipes.borrow_mut().lent -= 1);
    }
}

impl Pipe {
    /// An empty one; `None` if this thread has lent all it may have, or the kernel has none that is
    /// large enough.
    pub(super) fn take() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.lent >= PIPES_MAX {
                return None;
            }
            let ends = pipes.spare.pop().or_else(|| pipes.make())?;
            pipes.lent += 1;
            Some(Self { ends, lent: Lent })
        })
    }

    /// Gives it back. It must be empty.
    pub(super) fn give_back(self) {
        let Self { ends, lent } = self;
        drop(lent);
        PIPES.with_borrow_mut(|pipes| {
            if pipes.spare.len() < SPARE_MAX {
                pipes.spare.push(ends);
            }
        });
    }

    /// Splices from a socket into the pipe.
    ///
    /// # Errors
    ///
    /// Those of splice(2): `AGAIN` when the socket has nothing, `INVAL` when it cannot be spliced.
    pub(super) fn fill(&self, source: BorrowedFd<'_>) -> Result<usize, Errno> {
        splice(
            source,
            None,
            &self.ends.write,
            None,
            self.ends.capacity,
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
        splice(&self.ends.read, None, sink, None, bytes, HOW)
    }
}

/// Neither end of the pipe is waited for; whether the socket is, its own flag says.
const HOW: SpliceFlags = SpliceFlags::NONBLOCK;

impl Pipes {
    fn make(&mut self) -> Option<Ends> {
        if self.refusals > 0 {
            self.refusals -= 1;
            return None;
        }
        let ends = make().ok().filter(|ends| ends.capacity >= CAPACITY_MIN);
        if ends.is_none() {
            self.refusals = REFUSALS;
        }
        ends
    }
}

fn make() -> Result<Ends, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // It may be refused for lack of privileges; what it holds then tells whether it is of use.
    let capacity = match fcntl_setpipe_size(&write, CAPACITY) {
        Ok(capacity) => capacity,
        Err(_) => fcntl_getpipe_size(&write)?,
    };
    Ok(Ends {
        read,
        write,
        capacity,
    })
}
