//! What the will sends with one message, without allocating anything.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::SendFlags;

use crate::proxy::keep::parking::message::{ENTRY, LotEntry};
use crate::service::rights::{self, DESCRIPTORS_MAX};

pub(super) struct Parcel<'a> {
    queue: BorrowedFd<'a>,
    entries: [[u8; ENTRY]; DESCRIPTORS_MAX],
    pub(super) descriptors: [BorrowedFd<'a>; DESCRIPTORS_MAX],
    entry_count: usize,
    pub(super) count: usize,
    /// The table has the descriptors' numbers.
    pub(super) is_written_down: bool,
}

impl<'a> Parcel<'a> {
    /// An empty one for this queue, for what the table has.
    pub(super) fn new(queue: BorrowedFd<'a>) -> Self {
        Self {
            queue,
            entries: [[0; ENTRY]; DESCRIPTORS_MAX],
            descriptors: [queue; DESCRIPTORS_MAX],
            entry_count: 0,
            count: 0,
            is_written_down: true,
        }
    }

    /// Adds an entry with its descriptors: the first, or both. Neither may be -1.
    pub(super) fn add(&mut self, entry: LotEntry, one: u32, other: u32) {
        if self.count + entry.descriptors() > DESCRIPTORS_MAX {
            self.send();
        }
        if let Some(place) = self.entries.get_mut(self.entry_count) {
            *place = entry.bytes();
            self.entry_count += 1;
        }
        for number in [one, other].into_iter().take(entry.descriptors()) {
            if let Some(place) = self.descriptors.get_mut(self.count) {
                // SAFETY: it is not -1. Nothing else closes descriptors of this table any more, and the
                // kernel finds out if it is not open.
                *place = unsafe { BorrowedFd::borrow_raw(number as RawFd) };
                self.count += 1;
            }
        }
    }

    /// Sends what was added; what cannot be sent is left open for an heir.
    pub(super) fn send(&mut self) {
        if self.count == 0 {
            return;
        }
        let entries = self.entries.get(..self.entry_count).unwrap_or_default();
        let descriptors = self.descriptors.get(..self.count).unwrap_or_default();
        let bytes = entries.as_flattened();
        let result = rights::send(self.queue, bytes, descriptors, SendFlags::DONTWAIT);
        if result.is_err() && self.is_written_down {
            // An heir finds them by their numbers.
            for descriptor in descriptors {
                let _ = fcntl_setfd(descriptor, FdFlags::empty());
            }
        }
        (self.entry_count, self.count) = (0, 0);
    }
}
