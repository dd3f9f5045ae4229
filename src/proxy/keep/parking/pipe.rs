//! Pipes whose content outlives the process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::message::{Kind, LotEntry};
use super::shared::Parking;
use crate::proxy::keep::table::layout::{Phase, RawPipe, State};

/// A pipe that is parked. When it is dropped, its content is lost, also for the next process; after
/// [`crate::proxy::keep::Keep::leave`] it is not.
#[derive(Debug)]
pub struct ParkedPipe {
    parking: &'static Parking,
    /// Its number, by which a slot refers to it.
    pub number: u32,
    /// The end that is read from.
    pub read: OwnedFd,
    /// The end that is written to.
    pub write: OwnedFd,
}

impl Parking {
    /// Parks an empty pipe. `None` if there is no room.
    pub(in crate::proxy::keep) fn pipe(
        &'static self,
        read: OwnedFd,
        write: OwnedFd,
    ) -> Option<ParkedPipe> {
        let number = self.table.claim_pipe()?;
        let raw = self.table.pipe(number)?;
        write_down(raw, &read, &write);
        let state = raw.state.load();
        let entry = LotEntry {
            kind: Kind::Pipe,
            index: number,
            generation: state.generation,
        };
        let (lots, parked) = self.send(&[entry], &[read.as_raw_fd(), write.as_raw_fd()]);
        if !parked {
            self.free_pipe(number);
            return None;
        }
        let phase = Phase::Accepted;
        raw.state.store(State {
            parked,
            phase,
            ..state
        });
        drop(lots);
        Some(self.parked_pipe(number, read, write))
    }

    /// A pipe that an earlier process has parked.
    pub(in crate::proxy::keep) fn adopt_pipe(
        &'static self,
        number: u32,
        [read, write]: [OwnedFd; 2],
    ) -> ParkedPipe {
        if let Some(raw) = self.table.pipe(number) {
            write_down(raw, &read, &write);
        }
        self.parked_pipe(number, read, write)
    }

    fn parked_pipe(&'static self, number: u32, read: OwnedFd, write: OwnedFd) -> ParkedPipe {
        ParkedPipe {
            parking: self,
            number,
            read,
            write,
        }
    }
}

fn write_down(raw: &RawPipe, read: &OwnedFd, write: &OwnedFd) {
    raw.read.store(read.as_raw_fd() as u32, Release);
    raw.write.store(write.as_raw_fd() as u32, Release);
}

impl Drop for ParkedPipe {
    fn drop(&mut self) {
        if self.parking.table.header().orderly.load(Relaxed) == 0 {
            let _lots = self.parking.lots();
            self.parking.free_pipe(self.number);
        }
    }
}
