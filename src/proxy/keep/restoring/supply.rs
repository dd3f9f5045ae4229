//! The buffers and pipes that were found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Release;

use super::restored::InHand;
use super::settle::{SettledConnection, buffers_of};
use crate::proxy::keep::parking::{ParkedPipe, Parking};
use crate::proxy::keep::table::account::HeldBytes;
use crate::proxy::keep::table::{Buffer, Buffers};

/// Those that bytes in hand may be in, until they are taken.
pub(super) struct Supply {
    parking: &'static Parking,
    buffers: BTreeMap<u32, Buffer>,
    pipes: BTreeMap<u32, [OwnedFd; 2]>,
    used_pipes: BTreeSet<u32>,
}

impl Supply {
    /// The buffers that these connections use, and all pipes. `None` if there are not so many buffers.
    pub(super) fn new(
        parking: &'static Parking,
        buffers: &'static Buffers,
        connected: &BTreeMap<u32, SettledConnection>,
        pipes: BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Option<Self> {
        let used = connected.values().flat_map(buffers_of).collect();
        let adopted = buffers.adopt(used)?.into_iter();
        Some(Self {
            parking,
            buffers: adopted.map(|buffer| (buffer.number(), buffer)).collect(),
            pipes,
            used_pipes: BTreeSet::new(),
        })
    }

    /// Takes what bytes in hand are in.
    pub(super) fn take(&mut self, held: Option<HeldBytes>) -> InHand {
        let in_hand = match held {
            Some(HeldBytes::Buffer {
                number,
                from,
                length,
            }) => self
                .buffers
                .remove(&number)
                .map(|buffer| InHand::Buffer(buffer, from..from + length)),
            Some(HeldBytes::Pipe { number, length }) => {
                self.used_pipes.insert(number);
                let ends = self.pipes.remove(&number);
                ends.map(|ends| InHand::Pipe(self.settle_pipe(number, ends), length))
            }
            None => None,
        };
        in_hand.unwrap_or(InHand::Nothing)
    }

    fn settle_pipe(&self, number: u32, [read, write]: [OwnedFd; 2]) -> ParkedPipe {
        if let Some(raw) = self.parking.table.pipe(number) {
            raw.read.store(read.as_raw_fd() as u32, Release);
            raw.write.store(write.as_raw_fd() as u32, Release);
        }
        self.parking.adopt_pipe(number, read, write)
    }

    /// Gives back what was not taken: it is empty, or nobody's.
    pub(super) fn give_back(self) {
        for number in 0..self.parking.table.pipes_top() {
            if !self.used_pipes.contains(&number) {
                self.parking.free_pipe(number);
            }
        }
    }
}
