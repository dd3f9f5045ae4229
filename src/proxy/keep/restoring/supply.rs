//! The buffers and pipes that were found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::restored_connection::InHand;
use super::settle::SettledConnection;
use crate::proxy::keep::parking::Parking;
use crate::proxy::keep::table::account::{HeldBytes, Place};
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
        let places = connected.values().flat_map(SettledConnection::places);
        let numbers = places.filter_map(|place| match place {
            Place::Buffer(number) => Some(number),
            _ => None,
        });
        let buffers = buffers.adopt(numbers.collect())?.into_iter();
        Some(Self {
            parking,
            buffers: buffers.map(|buffer| (buffer.number(), buffer)).collect(),
            pipes,
            used_pipes: BTreeSet::new(),
        })
    }

    /// Takes the buffer or the pipe that has these bytes.
    pub(super) fn take(&mut self, bytes: Option<HeldBytes>) -> Option<InHand> {
        let HeldBytes {
            place,
            from,
            length,
        } = bytes?;
        match place {
            Place::None => None,
            Place::Buffer(number) => {
                let buffer = self.buffers.remove(&number)?;
                Some(InHand::Buffer(buffer, from..from + length))
            }
            Place::Pipe(number) => {
                self.used_pipes.insert(number);
                let ends = self.pipes.remove(&number)?;
                Some(InHand::Pipe(self.parking.adopt_pipe(number, ends), length))
            }
        }
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
