//! Pipes whose content outlives the process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::Keep;
use super::layout::{Phase, State};
use super::message::{Entry, Kind};

/// A pipe that is parked. When it is dropped, what is in there is lost, also for the next process; after
/// [`Keep::leave`] it is not.
#[derive(Debug)]
pub struct Pipe {
    keep: Keep,
    number: u32,
    read: OwnedFd,
    write: OwnedFd,
}

impl Keep {
    /// Parks an empty pipe. `None` if there is no room; then nothing may be spliced for connections
    /// that are kept.
    pub fn pipe(self, read: OwnedFd, write: OwnedFd) -> Option<Pipe> {
        let number = self.core.table.claim_pipe()?;
        let raw = self.core.table.pipe(number)?;
        raw.read.store(read.as_raw_fd() as u32, Release);
        raw.write.store(write.as_raw_fd() as u32, Release);
        let state = State::of(raw.state.load(Relaxed));
        let entry = Entry {
            kind: Kind::Pipe,
            index: number,
            generation: state.generation,
        };
        let descriptors = [read.as_raw_fd(), write.as_raw_fd()];
        let (lots, parked) = self.send(&[entry], &descriptors);
        if !parked {
            self.free_pipe(number);
            return None;
        }
        let phase = Phase::Accepted;
        let state = State {
            parked,
            phase,
            ..state
        };
        raw.state.store(state.word(), Release);
        drop(lots);
        Some(self.adopt_pipe(number, read, write))
    }

    /// A pipe that is parked already.
    pub(super) fn adopt_pipe(self, number: u32, read: OwnedFd, write: OwnedFd) -> Pipe {
        Pipe {
            keep: self,
            number,
            read,
            write,
        }
    }
}

impl Pipe {
    /// Its number, which is its name in a slot.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The end that is read from.
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// The end that is written to.
    pub fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.keep.core.table.header().orderly.load(Relaxed) == 0 {
            let _lots = self.keep.lots();
            self.keep.free_pipe(self.number);
        }
    }
}
