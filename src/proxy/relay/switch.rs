//! When to copy and when to splice: the decisions of one direction, without I/O.
//!
//! Copying through a buffer is cheapest for small messages, splicing through a pipe for bulk: it
//! needs two calls where copying needs two as well, but copies nothing, and the pipe's bookkeeping
//! costs more than copying a few kilobytes. A message says by its size what it is: one that fills
//! the whole buffer is bulk.
//!
//! A connection that is kept, and whose sockets the kernel does not count, has everything spliced: what
//! is in a pipe can be counted, so that after a kill it is known how far each byte has come.

/// While a direction is in bulk, each time it had to wait it must have carried at least so many
/// bytes since the wait before, or it goes back to copying.
pub(super) const BULK: usize = 32 * 1024;

/// How much is spliced at once to begin with, and to a sink that is slow: it stays in the pipe, and
/// that is memory.
const REACH: usize = 256 * 1024;

/// How much is spliced at once to a sink that takes everything: the more, the fewer calls.
pub(super) const REACH_MAX: usize = 1024 * 1024;

/// What a direction attempts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Receive into the buffer, and send what was received.
    Receive,
    /// Send what is left of what was received.
    Send,
    /// Splice from the source into a pipe, which is empty.
    Fill,
    /// Splice from the pipe to the sink.
    Drain,
    /// Tell the sink that the source has said everything.
    Finish,
}

/// Where the bytes are that were taken from the source and not given to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    InMemory(usize),
    InPipe(usize),
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    held: Held,
    bulk: bool,
    /// Everything is spliced, also what is small: what is in a pipe can be counted after a kill.
    always: bool,
    /// Whether splicing is possible at all between these two.
    splices: bool,
    ended: bool,
    /// Bytes since the last wait.
    carried: usize,
    /// How much is spliced at once.
    reach: usize,
}

impl Switch {
    /// Nothing was carried yet.
    pub(super) fn new() -> Self {
        Self {
            held: Held::Nothing,
            bulk: false,
            always: false,
            splices: true,
            ended: false,
            carried: 0,
            reach: REACH,
        }
    }

    /// As [`Self::new`], for a direction whose bytes only a pipe tells how far they have come.
    pub(super) fn by_pipe() -> Self {
        Self {
            bulk: true,
            always: true,
            ..Self::new()
        }
    }

    /// Whether everything is spliced that can be.
    pub(super) fn is_by_pipe(&self) -> bool {
        self.always && self.splices
    }

    /// What to attempt now.
    pub(super) fn next(&self) -> Next {
        match self.held {
            Held::InMemory(_) => Next::Send,
            Held::InPipe(_) => Next::Drain,
            Held::Nothing if self.ended => Next::Finish,
            Held::Nothing if self.bulk => Next::Fill,
            Held::Nothing => Next::Receive,
        }
    }

    /// So many bytes came into the buffer, or the end; `full`: as many as it holds.
    pub(super) fn received(&mut self, bytes: usize, full: bool) {
        debug_assert_eq!(self.next(), Next::Receive);
        match bytes {
            0 => self.ended(),
            _ => self.held = Held::InMemory(bytes),
        }
        self.carried += bytes;
        self.bulk = self.splices && (full || self.always);
    }

    /// So many bytes are in the buffer already.
    pub(super) fn had_received(&mut self, bytes: usize) {
        self.held = Held::InMemory(bytes);
    }

    /// The most bytes that may come into the pipe.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// So many bytes came into the pipe, one at least.
    pub(super) fn filled(&mut self, bytes: usize) {
        debug_assert_eq!(self.next(), Next::Fill);
        debug_assert_ne!(bytes, 0, "the end is told by a receive");
        if bytes >= self.reach {
            self.reach = (2 * self.reach).min(REACH_MAX);
        }
        self.held = Held::InPipe(bytes);
        self.carried += bytes;
    }

    /// A receive has told that the source has said everything.
    pub(super) fn ended(&mut self) {
        debug_assert_eq!(self.held, Held::Nothing);
        self.ended = true;
    }

    /// So many bytes are in a pipe already.
    pub(super) fn was_filled(&mut self, bytes: usize) {
        self.bulk = true;
        self.filled(bytes);
    }

    /// The sink took so many of the bytes that are held; how many are left.
    pub(super) fn gave(&mut self, bytes: usize) -> usize {
        let (Held::InMemory(held) | Held::InPipe(held)) = &mut self.held else {
            debug_assert_eq!(bytes, 0, "nothing is held");
            return 0;
        };
        debug_assert!(bytes <= *held);
        *held = held.saturating_sub(bytes);
        let left = *held;
        if left == 0 {
            self.held = Held::Nothing;
        }
        left
    }

    /// Bytes that are in the pipe.
    pub(super) fn in_pipe(&self) -> usize {
        match self.held {
            Held::InPipe(bytes) => bytes,
            Held::Nothing | Held::InMemory(_) => 0,
        }
    }

    /// The source has nothing now.
    pub(super) fn waits_for_source(&mut self) {
        debug_assert_eq!(self.held, Held::Nothing);
        self.bulk &= std::mem::take(&mut self.carried) >= BULK;
        self.bulk |= self.is_by_pipe();
    }

    /// The sink takes nothing now.
    pub(super) fn waits_for_sink(&mut self) {
        debug_assert_ne!(self.held, Held::Nothing);
        self.reach = REACH;
    }

    /// The next bytes are copied: no pipe can be had now, or splicing has stopped in front of them.
    pub(super) fn copies_next(&mut self) {
        debug_assert_eq!(self.next(), Next::Fill);
        self.bulk = false;
    }

    /// These two cannot be spliced: copies from now on.
    pub(super) fn cannot_splice(&mut self) {
        self.copies_next();
        self.splices = false;
    }
}

#[cfg(test)]
mod tests;
