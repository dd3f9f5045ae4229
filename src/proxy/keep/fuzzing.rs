//! A table as a fuzz target sees it: any bytes, read as after a kill. Only there when fuzzing.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::pwrite;

use super::keeper::Keep;
use super::options::KeepOptions;
use super::parking::message;
use super::restoring::{Sockets, settle};
use super::start::adopt;
use super::store::Parts;
use super::table::layout::{Header, SLOTS_AT, table_bytes};
use super::table::{Way, known_top};

/// Slots of the table.
const SLOTS: u32 = 4;

/// Bytes of the header that are read.
const HEADER: usize = size_of::<Header>();

impl Keep {
    /// One with a small table that nobody uses, with the descriptors of a process of its own.
    ///
    /// # Panics
    ///
    /// When the kernel has no memory or no descriptors.
    pub fn for_fuzzing() -> Self {
        let options = KeepOptions {
            connections: SLOTS,
            buffers: SLOTS,
            listeners: Vec::new(),
            is_heir: false,
        };
        let parts = Parts::new(&options).expect("memory files and sockets");
        let core = adopt(parts, &options).expect("a table that was just made");
        let core = Box::leak(Box::new(core));
        Self { core }
    }

    /// Reads bytes as the slots that an earlier process has left, and finds out where their connections
    /// are.
    ///
    /// # Panics
    ///
    /// When what is found out contradicts itself.
    pub fn settle_bytes(self, bytes: &[u8]) {
        let most = table_bytes(SLOTS as usize) - SLOTS_AT;
        let mut slots = bytes[..bytes.len().min(most)].to_vec();
        slots.resize(most, 0);
        pwrite(self.core.parking.table.file(), &slots, SLOTS_AT as u64).expect("a memory file");
        for slot in (0..SLOTS).filter_map(|index| self.core.parking.slot(index)) {
            let socket = || OwnedFd::from(UnixStream::pair().expect("a pair of sockets").0);
            let sockets = Sockets {
                client: socket(),
                upstream: Some(socket()),
                lot: None,
            };
            let _ = (slot.state(), slot.id(), slot.accepted(), slot.text());
            if settle(SLOTS, slot, &sockets, &BTreeMap::new()).is_ok() {
                // Done again after a kill in between, it comes to the same.
                let counts = Way::BOTH.map(|way| (slot.flow(way).taken(), slot.flow(way).given()));
                assert!(settle(SLOTS, slot, &sockets, &BTreeMap::new()).is_ok());
                assert_eq!(
                    counts,
                    Way::BOTH.map(|way| (slot.flow(way).taken(), slot.flow(way).given()))
                );
            }
        }
    }

    /// Reads bytes as the head of a table of `length` bytes: what is taken for one of this version has no
    /// more slots than there is room for.
    ///
    /// # Panics
    ///
    /// When it has.
    pub fn recognise_bytes(self, bytes: &[u8], length: usize) {
        let mut head = bytes[..bytes.len().min(HEADER)].to_vec();
        head.resize(HEADER, 0);
        let header = self.core.parking.table.header();
        let before = self.core.parking.table.slots();
        // Over the head of a table that nobody else has.
        pwrite(self.core.parking.table.file(), &head, 0).expect("a memory file");
        if let Some(top) = known_top(header, length, before) {
            assert!(table_bytes(top as usize) <= length);
        }
    }

    /// Reads bytes as a message in a lot that came with so many descriptors.
    ///
    /// # Panics
    ///
    /// When more of them are somebody's than there are.
    pub fn read_message(self, bytes: &[u8], descriptors: usize) {
        if let Some(entries) = message::entries(bytes, descriptors) {
            let wanted: usize = entries.iter().map(|entry| entry.descriptors()).sum();
            assert_eq!(wanted, descriptors);
        }
    }
}
