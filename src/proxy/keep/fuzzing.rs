//! A table as a fuzz target sees it: any bytes, read as after a kill.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
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

impl Keep {
    /// One with a small table of its own, and the descriptors of one process.
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
        core.leak()
    }

    /// Reads bytes as the slots that an earlier process has left, and finds out where their connections
    /// are.
    ///
    /// # Panics
    ///
    /// When what is found out contradicts itself.
    pub fn settle_bytes(self, bytes: &[u8]) {
        self.write_padded(bytes, SLOTS_AT, table_bytes(SLOTS as usize) - SLOTS_AT);
        for slot in (0..SLOTS).filter_map(|index| self.core.parking.slot(index)) {
            let socket = || OwnedFd::from(UnixStream::pair().expect("a pair of sockets").0);
            let sockets = Sockets {
                client: socket(),
                upstream: Some(socket()),
                lot: None,
            };
            let _ = (slot.state(), slot.id(), slot.accepted_at(), slot.text());
            let _ = (slot.requests(), slot.carried(), slot.is_used());
            let _ = slot.held_request();
            let counts = || Way::BOTH.map(|way| (slot.flow(way).taken(), slot.flow(way).given()));
            if settle(SLOTS, slot, &sockets, &BTreeMap::new()).is_ok() {
                // Done again after a kill in between, it has the same result.
                let before = counts();
                assert!(settle(SLOTS, slot, &sockets, &BTreeMap::new()).is_ok());
                assert_eq!(before, counts());
            }
            let carried = slot.carried();
            if slot.begin_anew(sockets.client.as_fd()).is_ok() {
                assert_eq!((counts(), slot.carried()), ([(0, 0); 2], carried));
            }
        }
    }

    /// Reads bytes as the head of a table of `length` bytes: one that is recognised as of this version has
    /// no more slots than there is room for.
    ///
    /// # Panics
    ///
    /// When it has.
    pub fn recognise_bytes(self, bytes: &[u8], length: usize) {
        let table = &self.core.parking.table;
        self.write_padded(bytes, 0, size_of::<Header>());
        if let Some(top) = known_top(table.header(), length, table.slots()) {
            assert!(table_bytes(top as usize) <= length);
        }
    }

    /// Writes `length` bytes into the table, which nothing else has: those that are given, then zeros.
    fn write_padded(self, bytes: &[u8], offset: usize, length: usize) {
        let mut bytes = bytes[..bytes.len().min(length)].to_vec();
        bytes.resize(length, 0);
        let table = self.core.parking.table.file();
        pwrite(table, &bytes, offset as u64).expect("a memory file");
    }

    /// Reads bytes as a message in a lot that came with `descriptors` descriptors.
    ///
    /// # Panics
    ///
    /// When its entries have more or fewer.
    pub fn read_message(self, bytes: &[u8], descriptors: usize) {
        if let Some(entries) = message::entries(bytes, descriptors) {
            let count: usize = entries.iter().map(|entry| entry.descriptors()).sum();
            assert_eq!(count, descriptors);
        }
    }
}
