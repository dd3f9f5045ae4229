//! The buffers and pipes that were found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::restored::InHand;
use super::settle::{SettledConnection, buffers_of};
use crate::proxy::keep::parking::Parking;
use crate::proxy::keep::table::account::HeldBytes;
use crate::proxy::keep::table::{Buffer, Buffers};

/// Buffers and pipes that may have bytes in hand, until they are taken.
pub(super) struct Supply {
    parking: &'static Parking,
    buffers: BTreeMap<u32, Buffer>,
    pipes: BTreeMap<u32, [OwnedFd; 2]>,
    used_pipes: BTreeSet<u32>,
}

impl Supply {
    /// The buffers that these connections use, and all pipes. `None` if the number of a buffer is too
    /// large.
    pub(super) fn new(
        parking: &'static Parking,
        buffers: &'static Buffers,
        connected: &BTreeMap<u32, SettledConnection>,
        pipes: BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Option<Self> {
        let numbers = connected.values().flat_map(buffers_of).collect();
        let buffers = buffers.adopt(numbers)?.into_iter();
        Some(Self {
            parking,
            buffers: buffers.map(|buffer| (buffer.number(), buffer)).collect(),
            pipes,
            used_pipes: BTreeSet::new(),
        })
    }

    /// Takes the buffer or the pipe that has these bytes.
    pub(super) fn take(&mut self, bytes: Option<HeldBytes>) -> InHand {
        let in_hand = match bytes {
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
                ends.map(|ends| InHand::Pipe(self.parking.adopt_pipe(number, ends), length))
            }
            None => None,
        };
        in_hand.unwrap_or(InHand::Nothing)
    }

    /// Frees the pipes that were not taken: they are empty, or belong to no connection.
    pub(super) fn give_back(self) {
        for number in 0..self.parking.table.pipes_top() {
            if !self.used_pipes.contains(&number) {
                self.parking.free_pipe(number);
            }
        }
    }
}
